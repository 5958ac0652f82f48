from __future__ import annotations

import pytest

from embsnap.model.paths import child_path, escape, join_entry_path, last_segment, split_entry_path, unescape


@pytest.mark.parametrize(
    ("key", "segment"),
    [("plain", "plain"), ("k/ey%41 x", "k%2Fey%2541 x"), ("", ""), ("..", ".."), ("ü😀%2F", "ü😀%252F"), ("%", "%25")],
)
def test_escaping_is_undone(key, segment):
    assert (escape(key), unescape(segment)) == (segment, key)


@pytest.mark.parametrize(
    ("path", "split"),
    [
        ("0/model/w", (0, "model/w")),
        ("12/a", (12, "a")),
        ("0/", (0, "")),
        ("model/w", None),
        ("0", None),
        ("0/a\nb", (0, "a\nb")),
        ("-1/a", None),
        ("00/a", None),
        ("01/a", None),
        ("²/a", None),
        ("٣/a", None),
        ("9999999999/a", None),
        ("", None),
    ],
)
def test_the_rank_is_split_off(path, split):
    assert split_entry_path(path) == split


def test_paths_are_put_together():
    assert join_entry_path(3, "model/w") == "3/model/w"
    assert child_path("optim/state", 0) == "optim/state/0"
    assert child_path("s", "a/b") == "s/a%2Fb"
    assert last_segment("s/a%2Fb") == "a/b"
    assert last_segment("s") == "s"
