"""What passes between a table and a file of another make.

Shape suffixes: N rows in the file, D columns.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from embsnap.errors import ErrorKind, SnapshotError
from embsnap.model.dtypes import DTYPES
from embsnap.model.vocabulary import BytesIds, Ids, IdType
from embsnap.storage.base import Store
from embsnap.storage.uri import join_uri

__all__ = [
    "CARD_KEY",
    "Blocks",
    "Entities",
    "Place",
    "TableCard",
    "TableContent",
    "VectorRows",
    "bad_file",
    "checked_rows",
]

CARD_KEY = "embsnap"
"""Under which files with metadata of their own keep the card."""
_MAX_CARD_BYTES = 1 << 20

Blocks = Iterable[NDArray[Any]]
"""`[M, D]` blocks of rows, in order: N rows together."""


@dataclass(frozen=True, slots=True)
class TableCard:
    """What a file says of the table that its rows are of."""

    name: str
    path: str
    """Logical path of the weight."""
    dtype: str
    """Of the table, which the file's may be wider than."""
    num_embeddings: int
    id_type: str | None

    def encode(self) -> str:
        """As JSON."""
        return json.dumps({"schema": "embsnap.table", "version": 1, **asdict(self)})

    @classmethod
    def decode(cls, text: str | bytes | None) -> TableCard | None:
        """The card that a text holds; None for anything else."""
        if text is None or len(text) > _MAX_CARD_BYTES:
            return None
        try:
            found = json.loads(text)
            if found["schema"] != "embsnap.table" or found["version"] != 1:
                return None
            card = cls(**{key: value for key, value in found.items() if key not in ("schema", "version")})
        except (ValueError, TypeError, KeyError, RecursionError):
            return None
        return card if card._is_right() else None

    def _is_right(self) -> bool:
        texts = all(isinstance(text, str) for text in (self.name, self.path, self.dtype))
        num_rows = self.num_embeddings
        counts = isinstance(num_rows, int) and not isinstance(num_rows, bool) and 0 <= num_rows < 1 << 48
        return texts and counts and self.dtype in DTYPES and (self.id_type is None or self.id_type in list(IdType))


@dataclass(frozen=True, slots=True, eq=False)
class Entities:
    """What stands beside the N vectors of an export."""

    rows_N: NDArray[Any]
    """`int64[N]`, ascending: their rows in the table."""
    ids: Ids | None = None
    id_type: IdType | None = None
    columns: Mapping[str, Any] = field(default_factory=dict)
    """Arrow arrays of N values by name."""

    def __len__(self) -> int:
        return len(self.rows_N)

    def arrays(self, start: int, end: int) -> dict[str, Any]:
        """Arrow arrays of the rows `[start, end)`: `id`, unless there is none, `row`, and the further columns."""
        found = {} if self.ids is None else {"id": self.id_array(start, end)}
        found["row"] = pa.array(self.rows_N[start:end])
        return found | {name: values.slice(start, end - start) for name, values in self.columns.items()}

    def id_array(self, start: int, end: int) -> Any:
        """The ids `[start, end)` as an Arrow array of their type."""
        if not isinstance(self.ids, BytesIds):
            assert self.ids is not None
            return pa.array(self.ids[start:end])
        offsets = self.ids.offsets[start : end + 1]
        data = np.ascontiguousarray(self.ids.data[offsets[0] : offsets[-1]])
        buffers = [None, pa.py_buffer((offsets - offsets[0]).astype(np.int32)), pa.py_buffer(data)]
        arrow_type = pa.string() if self.id_type is IdType.STRING else pa.binary()
        return pa.Array.from_buffers(arrow_type, end - start, buffers)


class VectorRows(Protocol):
    """The N vectors of a file, in its order."""

    @property
    def num_rows(self) -> int:
        """N."""

    @property
    def dim(self) -> int:
        """D."""

    def prepare(self) -> None:
        """Read and check all that has to be read in order; called once, before `gather`."""

    def gather(self, rows_N: NDArray[Any], out_ND: NDArray[Any]) -> None:
        """Fill row i of `out_ND`, of native byte order, with vector `rows_N[i]`; from any thread."""


@dataclass(frozen=True, slots=True, eq=False)
class TableContent:
    """What a file holds."""

    vectors: VectorRows
    dtype: str
    """Of the vectors as `gather` hands them out."""
    ids: Ids | None = None
    id_type: IdType | None = None
    rows_N: NDArray[Any] | None = None
    """`int64[N]`: the row that each vector is to have, where the file says so."""
    counts_N: NDArray[Any] | None = None
    card: TableCard | None = None


@dataclass(frozen=True, slots=True)
class Place:
    """Where one table is written."""

    store: Store
    location: str
    """Of its vectors; what stands beside them is named after it."""

    @property
    def uri(self) -> str:
        """Of the vectors."""
        return join_uri(self.store.uri, self.location)


def bad_file(where: str, problem: str, expected: str, found: object = None) -> SnapshotError:
    """A file that is not what its name says, or damaged."""
    hint = "name what it is with --format, or write it again"
    return SnapshotError(ErrorKind.BAD_EXPORT, problem, where=where, expected=expected, found=found, hint=hint)


def checked_rows(where: str, rows_N: NDArray[Any]) -> NDArray[np.int64]:
    """Rows as int64, all of them such as a table may have.

    Raises:
        SnapshotError: `bad-export`.
    """
    if rows_N.dtype.kind not in "iu" or (len(rows_N) and (rows_N.min() < 0 or rows_N.max() >= 1 << 48)):
        raise bad_file(where, "gives rows that no table has", "numbers from 0 on", rows_N.dtype)
    return rows_N.astype(np.int64)
