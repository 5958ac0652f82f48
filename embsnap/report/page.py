"""One self-contained page from the JSON of a report.

The page holds the report as data, and a script that shows it. Names of tables and entities are somebody else's text:
they stand in the data alone, in which `<`, `>` and `&` are escaped, and the script sets them as text, never as markup.
A policy in the page forbids the browser everything but this one script and this one style sheet: no request leaves it.
"""

from __future__ import annotations

import hashlib
import json
from base64 import b64encode
from html import escape
from importlib.resources import files
from typing import Any

__all__ = ["page_of"]

_STYLES = ("page.css", "parts.css", "charts.css", "media.css")
_SCRIPTS = (
    "text.js",
    "elements.js",
    "lists.js",
    "scales.js",
    "chart.js",
    "marks.js",
    "pointer.js",
    "norms.js",
    "spectrum.js",
    "drift.js",
    "shards.js",
    "history.js",
    "coverage.js",
    "warmstart.js",
    "card.js",
    "overview.js",
    "page.js",
)
_MAX_EXACT = 2**53 - 1
"""Beyond it a number of JavaScript is not every integer, so that entity ids would change."""

_PAGE = """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<noscript><p>This report is shown by a script in this file, which the browser has turned off.</p></noscript>
<script type="application/json" id="report">{data}</script>
<script type="module">{script}</script>
</body>
</html>
"""


def page_of(report_json: str, *, title: str) -> bytes:
    """An HTML page, in ASCII.

    Args:
        report_json: The report's JSON, as `--json` prints it.
        title: What the page is about: any text.
    """
    style, script = _joined(_STYLES), _joined(_SCRIPTS)
    policy = (
        f"default-src 'none'; script-src {_source(script)}; style-src {_source(style)}; base-uri 'none'; "
        "form-action 'none'"
    )
    page = _PAGE.format(
        policy=policy, title=escape(f"embsnap: {title}"), style=style, script=script, data=_data(report_json)
    )
    return page.encode("ascii", "xmlcharrefreplace")


def _joined(names: tuple[str, ...]) -> str:
    assets = files("embsnap.report") / "assets"
    return "\n" + "\n".join(assets.joinpath(name).read_text("ascii") for name in names)


def _source(text: str) -> str:
    """How a policy allows one inline script or style sheet: by its digest."""
    return f"'sha256-{b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _data(report_json: str) -> str:
    text = json.dumps(_exact(json.loads(report_json)), separators=(",", ":"))
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _exact(value: Any) -> Any:
    """Integers that a number of JavaScript does not hold, as text."""
    if isinstance(value, dict):
        return {key: _exact(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_exact(item) for item in value]
    return str(value) if type(value) is int and abs(value) > _MAX_EXACT else value
