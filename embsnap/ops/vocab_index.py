"""From batches of entity ids to rows, at the speed of memory: what a data loader does all day.

Shape suffixes: N ids in hand.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from embsnap.errors import ErrorKind, IncompatibleError, NotFoundError, UsageError
from embsnap.formats.index_file import IndexHeader, check_contents, read_index, write_index
from embsnap.kernels.index import IdTable, find_rows, make_table, spread_unknown
from embsnap.kernels.rows import check_rows
from embsnap.model.vocabulary import BytesIds, Ids, IdType, Vocabulary
from embsnap.ops.id_batches import ids_of
from embsnap.ops.vocabulary import fingerprint_of
from embsnap.ops.vocabulary_findings import duplicate_ids, refuse_errors, row_errors
from embsnap.storage.uri import Uri

__all__ = ["Oov", "VocabIndex"]

Oov = Literal["error", "row", "skip"]
"""What becomes of an id that the vocabulary does not have: an error, a row for unknown ids, or -1."""
_OOVS = get_args(Oov)
_REMEDY = "give each entity one row"
_EXAMPLES = 5


class VocabIndex:
    """The rows of a vocabulary by entity id, in memory or mapped from a file that processes share.

    Safe to use from any number of threads, after a fork, and in the workers of a DataLoader. One that lies in a file
    is pickled as its URI.

        >>> from embsnap.testing.vocabularies import make_vocabulary
        >>> index = VocabIndex.build(make_vocabulary([70, 50, 60], [2, 3, 4]), oov=(0, 2))
        >>> index.lookup([60, 70, 99], oov="skip").tolist()
        [4, 2, -1]

    Attributes:
        uri: Its file; None as long as it has none.
        id_type: Type of the ids.
        oov: Rows for unknown ids, `[start, end)`, or None.
        vocabulary: URI of the vocabulary it was built from.
        fingerprint: Of that vocabulary.
    """

    def __init__(
        self,
        header: IndexHeader,
        table: IdTable,
        uri: str | None = None,
        options: Mapping[str, str] | None = None,
    ) -> None:
        """For `build` and `open`."""
        self._header, self._table, self.uri, self._options = header, table, uri, options
        self.id_type, self.oov = header.id_type, header.oov
        self.vocabulary, self.fingerprint = header.vocabulary, header.fingerprint

    @classmethod
    def build(cls, vocabulary: Vocabulary, *, oov: tuple[int, int] | None = None, threads: int = 1) -> VocabIndex:
        """Index a vocabulary, in memory: about 26 bytes for each entity, for byte ids 12 more and the bytes.

        Args:
            vocabulary: Integer, string or binary ids.
            oov: Rows `[start, end)` for unknown ids; by default those that the vocabulary's files declare, if any.
            threads: For the kernels.

        Raises:
            IncompatibleError: `duplicate-ids` or `duplicate-rows`.
            UsageError: `bad-option`: `oov` is no range of rows.
        """
        if oov is None and vocabulary.declared is not None:
            oov = vocabulary.declared.oov
        if oov is not None and not (0 <= oov[0] < oov[1] and oov[1] - oov[0] <= 1 << 32):
            raise UsageError(ErrorKind.BAD_OPTION, "no range of rows", where="oov", expected="(start, end)", found=oov)
        refuse_errors(row_errors(vocabulary, check_rows(vocabulary.rows_N, None), None, remedy=_REMEDY))
        table, duplicates = make_table(vocabulary.ids, vocabulary.rows_N, threads=threads)
        refuse_errors(duplicate_ids(vocabulary, duplicates))
        fingerprint = fingerprint_of(vocabulary, threads=threads)
        return cls(IndexHeader(vocabulary.id_type, len(vocabulary), oov, vocabulary.uri, fingerprint), table)

    @classmethod
    def open(cls, uri: Uri, *, verify: bool = False, options: Mapping[str, str] | None = None) -> VocabIndex:
        """Map the file that `save` wrote. Only the header is read, unless `verify` asks for the checksum of all.

        From an object store it is downloaded into an unnamed temporary file, which forked processes share.

        Raises:
            NotFoundError: `no-such-object`.
            SnapshotError: `bad-index`: it is no index, or a damaged one.
            StorageError: The storage failed.
        """
        uri = os.fspath(uri)
        header, table = read_index(uri, options)
        if verify:
            check_contents(uri, header, table)
        return cls(header, table, uri, options)

    def save(self, uri: Uri, *, options: Mapping[str, str] | None = None) -> VocabIndex:
        """Write the index as one file, all of it or nothing, and return it as opened from there.

        Raises:
            RefusedError: `destination-taken`.
            StorageError: The disk is full, or the storage failed.
        """
        write_index(self._header, self._table, os.fspath(uri), options)
        return self.open(uri, options=options)

    def lookup(
        self, ids: Any, oov: Oov = "error", *, out: NDArray[np.int64] | None = None, threads: int = 1
    ) -> NDArray[np.int64]:
        """The row of each id. The GIL is released, so that batches can be looked up on several threads at once.

        Args:
            ids: N ids, as numpy or Arrow array or as a sequence; see `embsnap.ops.id_batches.ids_of`.
            oov: Of unknown ids: `error`, `row` (an id always gets the same of the rows for unknown ids; the formula is
                `embsnap.kernels.index.spread_unknown`'s), or `skip` (-1).
            out: `int64[N]`, contiguous and writable, to be filled; a new array if left out.
            threads: How many may work on it. They are started for this call: one is best for less than a million ids.

        Returns:
            `int64[N]`.

        Raises:
            NotFoundError: `no-such-entity`: ids are unknown and `oov` is `error`.
            IncompatibleError: `id-type-mismatch` or `null-ids`.
            UsageError: `bad-option`: there are no rows for unknown ids, `oov` is none of these, or `out` does not fit.
        """
        if oov not in _OOVS:
            expected = ", ".join(_OOVS)
            raise UsageError(ErrorKind.BAD_OPTION, "is no way to treat them", where="oov", expected=expected, found=oov)
        if oov == "row" and self.oov is None:
            problem, hint = "the index has no rows for unknown ids", "VocabIndex.build(vocabulary, oov=(start, end))"
            raise UsageError(ErrorKind.BAD_OPTION, problem, where=self._name, hint=hint)
        _, batch = ids_of(ids, self.id_type, what="ids to look up")
        rows_N = _output(len(batch), out)
        if find_rows(self._table, batch, rows_N, threads=threads):
            if oov == "error":
                raise self._unknown(batch, rows_N)
            if oov == "row" and self.oov is not None:
                spread_unknown(batch, rows_N, *self.oov)
        return rows_N

    def __len__(self) -> int:
        return self._header.num_ids

    def __repr__(self) -> str:
        return f"VocabIndex({len(self):,} {self.id_type} ids of {self.vocabulary}, {self.uri or 'in memory'})"

    def __reduce__(self) -> tuple[Any, ...]:
        if self.uri is None:
            raise UsageError(
                ErrorKind.BAD_OPTION,
                "an index in memory cannot be sent to another process",
                where=self._name,
                expected="an index in a file, which processes share",
                hint="index = index.save(uri)",
            )
        return _reopen, (self.uri, self.fingerprint, self._options)

    @property
    def _name(self) -> str:
        return self.uri or f"index of {self.vocabulary}"

    def _unknown(self, ids: Ids, rows_N: NDArray[np.int64]) -> NotFoundError:
        missing = np.flatnonzero(rows_N < 0)
        examples = ", ".join(_text(self.id_type, ids, int(i)) for i in missing[:_EXAMPLES])
        return NotFoundError(
            ErrorKind.NO_SUCH_ENTITY,
            f"{len(missing):,} of {len(rows_N):,} ids are not in the vocabulary",
            where=self._name,
            expected=f"{self.id_type} ids of {self.vocabulary}",
            found=examples,
            hint='oov="row" or oov="skip"',
        )


def _output(num_ids: int, out: NDArray[np.int64] | None) -> NDArray[np.int64]:
    if out is None:
        return np.empty(num_ids, np.int64)
    if out.dtype != np.int64 or out.shape != (num_ids,) or not out.flags.c_contiguous or not out.flags.writeable:
        found = f"{out.dtype}{list(out.shape)}, contiguous: {out.flags.c_contiguous}, writable: {out.flags.writeable}"
        expected = f"a contiguous, writable int64[{num_ids}]"
        raise UsageError(ErrorKind.BAD_OPTION, "does not fit the ids", where="out", expected=expected, found=found)
    return out


def _text(id_type: IdType, ids: Ids, index: int) -> str:
    if not isinstance(ids, BytesIds):
        return str(int(ids[index]))
    value = ids[index]
    return repr(value.decode("utf-8", "backslashreplace")) if id_type is IdType.STRING else f"0x{value.hex()}"


def _reopen(uri: str, fingerprint: str, options: Mapping[str, str] | None) -> VocabIndex:
    index = VocabIndex.open(uri, options=options)
    if index.fingerprint != fingerprint:
        raise IncompatibleError(
            ErrorKind.VOCABULARY_MISMATCH,
            "the index was replaced since it was sent to this process",
            where=uri,
            expected=fingerprint,
            found=index.fingerprint,
            hint="write each index to a new file",
        )
    return index
