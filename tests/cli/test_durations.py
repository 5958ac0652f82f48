"""Spans of time as they are typed and shown."""

from __future__ import annotations

import pytest

from embsnap.cli.durations import format_duration, parse_duration


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("24h", 86400), ("90m", 5400), ("7d", 604800), ("2w", 1209600), ("30 s", 30), ("1.5H", 5400), ("0", 0), ("0d", 0)],
)
def test_what_is_understood(text, seconds) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "24", "-1h", "h", "1e3s", "1 day", "1h30m", "inf", "nan", "٣h"])
def test_what_is_not(text) -> None:
    with pytest.raises(ValueError, match="write for example 90m, 24h or 7d"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0 s"), (59.6, "60 s"), (90, "1.5 m"), (3600, "1 h"), (86400, "1 d"), (-5, "-5 s")]
)
def test_how_they_are_shown(seconds, text) -> None:
    assert format_duration(seconds) == text
