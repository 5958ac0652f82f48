"""The vocabularies that a saved model's sidecar names."""

from __future__ import annotations

from collections.abc import Mapping

from embsnap.config.embedding import EmbeddingBagConfig, LargeEmbeddingsConfig
from embsnap.errors import ErrorKind, IncompatibleError, NotFoundError
from embsnap.formats.sidecar import TableVocabulary
from embsnap.formats.torchsnapshot.tables import named_weights
from embsnap.kernels.rows import check_rows
from embsnap.live.state_tree import ShardedLeaf, StateTree, TensorLeaf
from embsnap.ops.vocabulary_findings import refuse_errors, row_errors
from embsnap.ops.warmstart.sources import Sources
from embsnap.storage.uri import absolute_uri

__all__ = ["saved_vocabularies"]


def saved_vocabularies(config: LargeEmbeddingsConfig, tree: StateTree, sources: Sources) -> dict[str, TableVocabulary]:
    """The vocabularies of the config's tables, by name.

    Args:
        config: Each of its tables with a vocabulary has to be among what is saved.
        tree: What is saved.
        sources: Reads the vocabularies.

    Raises:
        NotFoundError: `no-such-table`: a table is not saved.
        IncompatibleError: It has another shape, or its vocabulary has rows beyond it, or one row twice.
        StorageError: A vocabulary cannot be read.
    """
    shapes = _table_shapes(tree)
    recorded = {}
    for table in config.tables:
        if table.vocab is not None:
            _check_saved(table, shapes)
            vocabulary, ref = sources.new_vocabulary(table)
            check = check_rows(vocabulary.rows_N, table.num_embeddings)
            remedy = "give the vocabulary that the table is trained with"
            refuse_errors(row_errors(vocabulary, check, table.num_embeddings, remedy=remedy))
            recorded[table.name] = TableVocabulary(absolute_uri(ref.uri), ref.fingerprint)
    return recorded


def _table_shapes(tree: StateTree) -> dict[str, list[tuple[int, ...]]]:
    """Of the tables by name; a model and its averages have the same names."""
    shapes: dict[str, list[tuple[int, ...]]] = {}
    for path, name in named_weights(tree.leaves):
        leaf = tree.leaves[path]
        if isinstance(leaf, ShardedLeaf | TensorLeaf):
            shape = leaf.shape if isinstance(leaf, ShardedLeaf) else tuple(leaf.tensor.shape)
            shapes.setdefault(name, []).append(shape)
    return shapes


def _check_saved(table: EmbeddingBagConfig, shapes: Mapping[str, list[tuple[int, ...]]]) -> None:
    where, expected = f"table {table.name} of SaveOptions.config", (table.num_embeddings, table.embedding_dim)
    if table.name not in shapes:
        raise NotFoundError(
            ErrorKind.NO_SUCH_TABLE,
            "the table is not among what is saved",
            where=where,
            expected=f"one of {', '.join(shapes) or 'no tables'}",
            hint="give the config of the tables that are saved",
        )
    if expected not in shapes[table.name]:
        raise IncompatibleError(
            ErrorKind.SHAPE_MISMATCH,
            "the table that is saved has another shape",
            where=where,
            expected=list(expected),
            found=", ".join(str(list(shape)) for shape in shapes[table.name]),
            hint="give the config of the tables that are saved",
        )
