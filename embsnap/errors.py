"""The errors a caller can meet, grouped by what can be done about them.

    EmbsnapError            exit 70  (never raised itself)
    ├── GateError           exit 1   checked, and below the gate that was asked for; nothing was written
    ├── UsageError          exit 2   the request is wrong: fix the command, the config or the call
    ├── NotFoundError       exit 3   no such thing, or several (also a FileNotFoundError)
    ├── SnapshotError       exit 4   not a committed or readable snapshot, or a corrupt one
    ├── IncompatibleError   exit 5   both sides are readable and do not fit (also a ValueError)
    ├── StorageError        exit 6   the storage failed: permission, disk, network (also an OSError)
    └── RefusedError        exit 7   done so would lose something: the destination is taken

The class says what to do; `kind` is the precise cause, a stable string that scripts may match. Every
error says what went wrong, where, what was expected, what was found, and what to try.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any, ClassVar

__all__ = [
    "EmbsnapError",
    "ErrorKind",
    "GateError",
    "IncompatibleError",
    "NotFoundError",
    "RefusedError",
    "SnapshotError",
    "StorageError",
    "UsageError",
]


class ErrorKind(StrEnum):
    """Precise causes. Append only: a released string never changes its meaning."""

    # GateError
    COVERAGE_BELOW_GATE = "coverage-below-gate"
    # UsageError
    BAD_OPTION = "bad-option"
    BAD_CONFIG = "bad-config"
    BAD_URI = "bad-uri"
    NOTHING_TO_DO = "nothing-to-do"
    MISSING_PACKAGE = "missing-package"
    BAD_RESULT = "bad-result"
    # NotFoundError
    NO_SUCH_OBJECT = "no-such-object"
    NO_SUCH_TABLE = "no-such-table"
    AMBIGUOUS_TABLE = "ambiguous-table"
    NO_SUCH_STEP = "no-such-step"
    NO_CONFIG_THERE = "no-config-there"
    AMBIGUOUS_CONFIG = "ambiguous-config"
    NO_SUCH_ENTITY = "no-such-entity"
    AMBIGUOUS_COLUMN = "ambiguous-column"
    NO_SUCH_COLUMN = "no-such-column"
    NO_SUCH_BUCKET = "no-such-bucket"
    # SnapshotError
    NOT_A_SNAPSHOT = "not-a-snapshot"
    TORN_SNAPSHOT = "torn-snapshot"
    BAD_METADATA = "bad-metadata"
    METADATA_TOO_LARGE = "metadata-too-large"
    BAD_ENTRY = "bad-entry"
    UNSAFE_LOCATION = "unsafe-location"
    BAD_COVER = "bad-cover"
    SHORT_OBJECT = "short-object"
    OPAQUE_ENTRY = "opaque-entry"
    MISSING_OBJECT = "missing-object"
    BAD_PARQUET = "bad-parquet"
    BAD_INDEX = "bad-index"
    UNFINISHED_COPY = "unfinished-copy"
    CHECKSUM_MISMATCH = "checksum-mismatch"
    BAD_EXPORT = "bad-export"
    UNREPAIRABLE = "unrepairable"
    # IncompatibleError
    SHAPE_MISMATCH = "shape-mismatch"
    DTYPE_MISMATCH = "dtype-mismatch"
    CAST_OVERFLOW = "cast-overflow"
    BAD_VOCABULARY = "bad-vocabulary"
    ID_TYPE_MISMATCH = "id-type-mismatch"
    DUPLICATE_IDS = "duplicate-ids"
    DUPLICATE_ROWS = "duplicate-rows"
    ROW_OUT_OF_RANGE = "row-out-of-range"
    ZERO_OVERLAP = "zero-overlap"
    NO_VOCABULARY = "no-vocabulary"
    VOCABULARY_MISMATCH = "vocabulary-mismatch"
    LOOKUP_MISMATCH = "lookup-mismatch"
    NULL_IDS = "null-ids"
    BAD_ROW_MAP = "bad-row-map"
    NOT_REPRESENTABLE = "not-representable"
    CAST_ERROR = "cast-error"
    CONFLICTING_ENTITIES = "conflicting-entities"
    STATE_MISMATCH = "state-mismatch"
    NOT_FINITE = "not-finite"
    # StorageError
    STORAGE_FAILED = "storage-failed"
    PERMISSION_DENIED = "permission-denied"
    DISK_FULL = "disk-full"
    SHORT_READ = "short-read"
    OBJECT_TOO_LARGE = "object-too-large"
    TIMED_OUT = "timed-out"
    NOT_AUTHENTICATED = "not-authenticated"
    OBJECT_REPLACED = "object-replaced"
    CORRUPT_TRANSFER = "corrupt-transfer"
    RANK_LOST = "rank-lost"
    # RefusedError
    DESTINATION_TAKEN = "destination-taken"
    READ_ONLY = "read-only"
    HALF_FILLED = "half-filled"


class EmbsnapError(Exception):
    """Base of all errors that embsnap raises on purpose.

    Attributes:
        kind: The precise cause.
        problem: One sentence: what went wrong.
        where: URI, entry path, table or option it is about.
        expected: What would have been right.
        found: What was there instead.
        hint: What to try.
    """

    exit_code: ClassVar[int] = 70

    def __init__(
        self,
        kind: ErrorKind,
        problem: str,
        *,
        where: str | None = None,
        expected: object = None,
        found: object = None,
        hint: str | None = None,
    ) -> None:
        self.kind = kind
        self.problem = problem
        self.where = where
        self.expected = None if expected is None else str(expected)
        self.found = None if found is None else str(found)
        self.hint = hint
        super().__init__(str(self))

    def __str__(self) -> str:
        text = self.problem if self.where is None else f"{self.where}: {self.problem}"
        parts = [f"{name} {value}" for name, value in (("expected", self.expected), ("found", self.found)) if value]
        if parts:
            text += f" ({', '.join(parts)})"
        return text if self.hint is None else f"{text}\n  try: {self.hint}"

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.kind.value!r}, {str(self)!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        fields = {name: getattr(self, name) for name in ("where", "expected", "found", "hint")}
        return _rebuild, (type(self), self.kind, self.problem, fields)


def _rebuild(cls: type[EmbsnapError], kind: ErrorKind, problem: str, fields: dict[str, Any]) -> EmbsnapError:
    return cls(kind, problem, **fields)


class GateError(EmbsnapError):
    """Everything was checked and the answer is below the gate that was asked for."""

    exit_code = 1


class UsageError(EmbsnapError):
    """The request itself is wrong."""

    exit_code = 2


class NotFoundError(EmbsnapError, FileNotFoundError):
    """What was named does not exist, or the name fits several things."""

    exit_code = 3


class SnapshotError(EmbsnapError):
    """Not a committed snapshot, or one whose metadata or objects cannot be right."""

    exit_code = 4


class IncompatibleError(EmbsnapError, ValueError):
    """Two readable things that do not fit: shape, dtype, vocabulary."""

    exit_code = 5


class StorageError(EmbsnapError, OSError):
    """The storage failed or forbade it."""

    exit_code = 6


class RefusedError(EmbsnapError, FileExistsError):
    """Refused, because going on would overwrite or lose something."""

    exit_code = 7
