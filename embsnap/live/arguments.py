"""What callers of the live functions give, looked at before any rank talks to another."""

from __future__ import annotations

from embsnap.errors import ErrorKind, UsageError

__all__ = ["check_argument"]


def check_argument(is_right: bool, name: str, value: object, *, expected: str, hint: str) -> None:
    """Refuse an argument that is not what is expected.

    Raises:
        UsageError: `bad-option`.
    """
    if not is_right:
        raise UsageError(
            ErrorKind.BAD_OPTION,
            "this argument does not fit",
            where=name,
            expected=expected,
            found=repr(value) if isinstance(value, str) else type(value).__name__,
            hint=hint,
        )
