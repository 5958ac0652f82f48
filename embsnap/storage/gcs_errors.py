"""What a status of Google Cloud Storage means, and what to do about it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from email.message import Message

from embsnap.errors import EmbsnapError, ErrorKind, StorageError
from embsnap.storage.remote_errors import no_such_bucket, no_such_object
from embsnap.storage.retries import TransientError

__all__ = ["credentials_failed", "failure_of"]

_TRANSIENT = {408, 429}
_MOST_TEXT = 300
_OF_FILES = (FileNotFoundError, PermissionError, IsADirectoryError)
_LOGIN = "gcloud auth application-default login, or --storage-option token=KEY_FILE.json; token=anon for what is public"


def failure_of(
    status: int, headers: Mapping[str, str] | Message, text: str, where: str, account: str
) -> EmbsnapError | TransientError:
    """The error to raise for an answer that nobody expected.

    Args:
        status: Of HTTP.
        headers: Of the answer.
        text: Its body.
        where: `gs://` URI that was asked for.
        account: Who asked; empty for nobody.
    """
    reason = _reason(text)
    said = f"HTTP status {status}" + (f": {reason}" if reason else "")
    if status < 400:
        return TransientError(f"an answer with HTTP status {status}, which nobody asked for")
    if status in _TRANSIENT or status >= 500:
        return TransientError(said, wait_s=_wait(headers))
    if status == 404:
        bucket = where.partition("://")[2].partition("/")[0]
        return no_such_bucket(where, bucket) if "bucket" in reason.lower() else no_such_object(where)
    if status == 401:
        return _not_authenticated(said, where, account)
    if status == 403:
        return _forbidden(said, where, account)
    if status == 400 and "requester pays" in reason.lower():
        hint = "name the project that pays: --storage-option requester_pays=PROJECT"
        problem = "the bucket's reader pays, and no project was named"
        return StorageError(ErrorKind.PERMISSION_DENIED, problem, where=where, found=said, hint=hint)
    hint = "check the endpoint (STORAGE_EMULATOR_HOST, --storage-option endpoint_url=URL) and the URI"
    return StorageError(ErrorKind.STORAGE_FAILED, "the server refused the request", where=where, found=said, hint=hint)


def credentials_failed(error: Exception) -> EmbsnapError | TransientError:
    """The error to raise for what came of looking for credentials, or of renewing them."""
    if type(error).__name__ == "TransportError" or (isinstance(error, OSError) and not isinstance(error, _OF_FILES)):
        return TransientError(f"whoever issues the credentials does not answer: {error}")
    problem = "the credentials cannot be used"
    where = "--storage-option token, or Google's application default credentials"
    return StorageError(ErrorKind.NOT_AUTHENTICATED, problem, where=where, found=str(error), hint=_LOGIN)


def _not_authenticated(said: str, where: str, account: str) -> StorageError:
    problem = (
        "the server does not accept the credentials" if account else "the server wants credentials, none were found"
    )
    return StorageError(ErrorKind.NOT_AUTHENTICATED, problem, where=where, found=said, hint=_LOGIN)


def _forbidden(said: str, where: str, account: str) -> StorageError:
    who = account or "without credentials, nobody"
    problem = f"not permitted: {who} may not do this there" if account else f"not permitted: {who} may do this there"
    hint = (
        "have the role Storage Object User (Viewer, to read) granted on the bucket, or use another account or project"
        " (gcloud config list; --storage-option token=KEY_FILE.json; --storage-option project=PROJECT)"
    )
    return StorageError(ErrorKind.PERMISSION_DENIED, problem, where=where, found=said, hint=hint)


def _reason(text: str) -> str:
    """The server's own words, on one line."""
    try:
        error = json.loads(text)["error"]
        text = error if isinstance(error, str) else error["message"]
    except (ValueError, KeyError, TypeError):
        pass
    line = " ".join(text.split())
    return line if len(line) <= _MOST_TEXT else f"{line[:_MOST_TEXT]}…"


def _wait(headers: Mapping[str, str] | Message) -> float:
    """Seconds that the server asks to be left alone; a date instead of a number is ignored."""
    text = headers.get("Retry-After", "")
    return float(text) if text.isdecimal() else 0.0
