"""Old rows that an initializer starts from: donors, and the rows that entities hold.

Shape suffixes: N entities, V rows of the new table.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from embsnap.config.embedding import EmbeddingBagConfig
from embsnap.errors import ErrorKind, IncompatibleError, NotFoundError
from embsnap.formats.id_arrays import factorize_ids, take_ids
from embsnap.kernels.join import join
from embsnap.kernels.row_marks import rows_among
from embsnap.model.vocabulary import BytesIds, Ids, Vocabulary

__all__ = ["donor_row", "donor_rows", "needs_occupied_rows", "old_rows_of"]


def needs_occupied_rows(table: EmbeddingBagConfig) -> bool:
    """Whether the table's initializer asks which old rows an entity holds."""
    return table.initializer_or_default.kind in ("mean", "mean_covariance")


def donor_row(table: EmbeddingBagConfig, old_vocabulary: Vocabulary) -> int | None:
    """Old row of the donor that the initializer names by its id.

    Raises:
        IncompatibleError: `id-type-mismatch`.
        NotFoundError: `no-such-entity`.
    """
    donor = table.initializer.donor if table.initializer is not None else None
    return None if donor is None or donor.id is None else _row_of(old_vocabulary, donor.id, table)


def _row_of(vocabulary: Vocabulary, entity_id: int | str, table: EmbeddingBagConfig) -> int:
    """Row of one entity, by its id as the config writes it."""
    wants_text = isinstance(vocabulary.ids, BytesIds)
    if isinstance(entity_id, str) is not wants_text:
        raise IncompatibleError(
            ErrorKind.ID_TYPE_MISMATCH,
            "the donor's id has another type than the old vocabulary's ids",
            where=f"table {table.name}, initializer.donor.id",
            expected=vocabulary.id_type,
            found=repr(entity_id),
            hint="write numbers bare and strings in quotes",
        )
    asked = _single_id(vocabulary, entity_id)
    rows_N = np.zeros(len(asked), np.int64)
    row = int(join(vocabulary.ids, vocabulary.rows_N, asked, rows_N, 1, threads=1).row_V[0])
    if row < 0:
        raise NotFoundError(
            ErrorKind.NO_SUCH_ENTITY,
            "the donor is not in the old vocabulary",
            where=f"table {table.name}, initializer.donor.id",
            expected=f"an id of {vocabulary.uri}",
            found=repr(entity_id),
        )
    return row


def _single_id(vocabulary: Vocabulary, entity_id: int | str) -> Ids:
    if isinstance(vocabulary.ids, BytesIds):
        data = np.frombuffer(str(entity_id).encode(), np.uint8)
        return BytesIds(np.array([0, len(data)], np.int64), data)
    limits = np.iinfo(vocabulary.ids.dtype)
    if not limits.min <= int(entity_id) <= limits.max:
        return vocabulary.ids[:0]
    asked = vocabulary.ids[:1].copy()
    asked[0] = int(entity_id)
    return asked


def donor_rows(
    old: Vocabulary, new: Vocabulary, new_rows_N: NDArray[np.int64], num_rows: int, threads: int
) -> NDArray[np.int64] | None:
    """Old row that each of the new rows `new_rows_N` starts from, or -1; None where there is no donor column."""
    if new.donors is None:
        return None
    is_new_V = np.zeros(num_rows, np.bool_)
    is_new_V[new_rows_N] = True
    index_N = rows_among(new.rows_N, is_new_V, threads=threads)
    index_N = index_N[np.argsort(new.rows_N[index_N])]
    return old_rows_of(take_ids(new.donors, index_N), old.ids, old.rows_N, threads)


def old_rows_of(asked: Ids, old_ids: Ids, old_rows: NDArray[np.int64], threads: int) -> NDArray[np.int64]:
    """The old row of each of N ids, of which some may be the same, or -1."""
    distinct, code_N = factorize_ids(asked)
    joined = join(old_ids, old_rows, distinct, np.arange(len(distinct)), len(distinct), threads=threads)
    return joined.row_V[code_N]
