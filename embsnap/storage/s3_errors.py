"""What a failure of botocore means, and what to do about it."""

from __future__ import annotations

from embsnap.errors import EmbsnapError, ErrorKind, StorageError
from embsnap.storage.remote_errors import no_such_bucket, no_such_object
from embsnap.storage.retries import TransientError

__all__ = ["answer_of", "failure_of"]

_TRANSIENT_STATUS = {408, 409, 429}
_TRANSIENT_CODES = {"RequestTimeout", "SlowDown", "ConditionalRequestConflict", "OperationAborted"}
_DAMAGED_CODES = {"BadDigest", "XAmzContentSHA256Mismatch", "XAmzContentChecksumMismatch"}
_BAD_CREDENTIALS = {
    "InvalidAccessKeyId",
    "SignatureDoesNotMatch",
    "ExpiredToken",
    "InvalidToken",
    "TokenRefreshRequired",
}
_NO_CREDENTIALS = {
    "NoCredentialsError",
    "PartialCredentialsError",
    "CredentialRetrievalError",
    "TokenRetrievalError",
    "UnauthorizedSSOTokenError",
}
_OF_CLIENTS = ("botocore", "aiobotocore", "aiohttp", "fsspec", "s3fs")
_LOGIN = (
    "aws configure (or sso login, AWS_PROFILE, AWS_ACCESS_KEY_ID), or --storage-option anon=true for a public bucket"
)


def answer_of(error: BaseException) -> tuple[int, str, str]:
    """HTTP status, error code and message of the server's answer; (0, "", "") where it never answered."""
    response = getattr(error, "response", None) or getattr(error.__cause__, "response", None)
    if not isinstance(response, dict):
        return 0, "", ""
    said = response.get("Error", {})
    status = response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    return int(status), str(said.get("Code", "")), str(said.get("Message", ""))


def failure_of(error: Exception, where: str) -> Exception:
    """The error to raise for what s3fs or botocore raised; one that is neither's is returned as it is.

    Args:
        error: What was raised.
        where: `s3://` URI that was asked for.
    """
    status, code, message = answer_of(error)
    if status:
        return _of_answer(status, code, message, where)
    if type(error).__name__ in _NO_CREDENTIALS:
        problem = "S3 wants credentials, and none were found"
        return StorageError(ErrorKind.NOT_AUTHENTICATED, problem, where=where, found=str(error), hint=_LOGIN)
    if type(error).__name__ == "ParamValidationError":
        hint = "check the spelling of the bucket and the path"
        problem = "S3 has no such names"
        return StorageError(ErrorKind.STORAGE_FAILED, problem, where=where, found=str(error), hint=hint)
    if isinstance(error, OSError) or type(error).__module__.partition(".")[0] in _OF_CLIENTS:
        return TransientError(f"the connection failed: {error or type(error).__name__}")
    return error


def _of_answer(status: int, code: str, message: str, where: str) -> EmbsnapError | TransientError:
    said = f"HTTP status {status}: {code} {message}".rstrip()
    if code in _DAMAGED_CODES:
        return TransientError(said, kind=ErrorKind.CORRUPT_TRANSFER)
    if status >= 500 or status in _TRANSIENT_STATUS or code in _TRANSIENT_CODES:
        return TransientError(said)
    if status == 404:
        bucket = where.partition("://")[2].partition("/")[0]
        return no_such_bucket(where, bucket) if code == "NoSuchBucket" else no_such_object(where)
    if status == 401 or code in _BAD_CREDENTIALS:
        problem = "S3 does not accept the credentials"
        return StorageError(ErrorKind.NOT_AUTHENTICATED, problem, where=where, found=said, hint=_LOGIN)
    if status == 403:
        problem = "not permitted: the account may not do this there"
        hint = (
            "have s3:GetObject, s3:PutObject and s3:ListBucket granted on the bucket (for gc s3:DeleteObject,"
            " s3:ListBucketMultipartUploads and s3:AbortMultipartUpload too), or use another account"
        )
        return StorageError(ErrorKind.PERMISSION_DENIED, problem, where=where, found=said, hint=hint)
    hint = "check the endpoint (AWS_ENDPOINT_URL, --storage-option endpoint_url=URL), the region and the URI"
    return StorageError(ErrorKind.STORAGE_FAILED, "the server refused the request", where=where, found=said, hint=hint)
