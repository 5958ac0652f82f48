"""The text of a page, before any browser."""

from __future__ import annotations

import hashlib
import html
import json
import re
from base64 import b64encode

from embsnap.report.page import page_of

HOSTILE = "</script><!--<script>&'\"\u2028\ud800"


def _page(value, title="run"):
    return page_of(json.dumps(value), title=title).decode("ascii")


def _data(page):
    return json.loads(re.search(r'<script type="application/json" id="report">(.*?)</script>', page, re.DOTALL)[1])


def test_the_data_come_back():
    value = {"name": HOSTILE, HOSTILE: [1, 2.5, None, True, "NaN"]}
    assert _data(_page(value)) == value


def test_text_of_others_makes_no_markup():
    plain, hostile = _page({"name": "user"}), _page({"name": HOSTILE, HOSTILE: HOSTILE}, title=HOSTILE)
    assert re.findall(r"<\W?\w+", plain) == re.findall(r"<\W?\w+", hostile)
    assert html.unescape(re.search("<title>(.*?)</title>", hostile)[1]).startswith("embsnap: </script><!--")


def test_integers_that_javascript_would_change_are_text():
    limit = 2**53 - 1
    assert _data(_page([limit, limit + 1, -limit, -limit - 1, 2**64 - 1])) == [
        limit, str(limit + 1), -limit, str(-limit - 1), str(2**64 - 1)
    ]  # fmt: skip


def test_the_policy_allows_its_own_script_and_style_alone():
    page = _page({})
    policy = html.unescape(re.search(r'Content-Security-Policy" content="(.*?)"', page)[1])
    assert "default-src 'none'" in policy
    for tag, text in (("script", r'<script type="module">(.*?)</script>'), ("style", "<style>(.*?)</style>")):
        digest = b64encode(hashlib.sha256(re.search(text, page, re.DOTALL)[1].encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy


def test_it_names_no_other_place():
    assert set(re.findall(r"https?://[^\s\"'<]+", _page({}))) == {"http://www.w3.org/2000/svg"}
