"""What a snapshot is to hold, checked before anything is written, and the manifest that says so."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Literal

from embsnap.errors import ErrorKind, IncompatibleError, UsageError
from embsnap.formats.torchsnapshot.encoding import Primitive, primitive_entry
from embsnap.formats.torchsnapshot.layout import ObjectLayout, PlacedPiece, RowShape
from embsnap.model.dtypes import DType
from embsnap.model.manifest import (
    ArrayEntry,
    ChunkedTensorEntry,
    ContainerEntry,
    Entry,
    Manifest,
    Shard,
    ShardedTensorEntry,
    TensorEntry,
)
from embsnap.model.paths import escape, unescape
from embsnap.model.rows import RowSource

__all__ = ["ArrayToWrite", "build_manifest", "check_contents"]

_VERSION = "0.1.0"
_MAX_KEY_CHARS = 1024
"""YAML's limit for a key, quotes and escapes included."""


@dataclass(frozen=True, slots=True)
class ArrayToWrite:
    """One array of a new snapshot."""

    path: str
    """Logical path with escaped segments, without a rank: `model/ebc.embedding_bags.user.weight`."""
    dtype: DType
    shape: tuple[int, ...]
    """`(V, D)`, `(V,)` or `()`."""
    source: RowSource
    """Hands out the rows; 1 row of 1 for `()`. It is read from several threads, each row once."""
    form: Literal["sharded", "tensor"] = "sharded"
    """`sharded`: a ShardedTensor entry, which torchsnapshot reads into plain and sharded modules of any world size.
    `tensor`: a replicated Tensor or ChunkedTensor entry, for what is not sharded in a sharded module."""

    @property
    def is_sharded(self) -> bool:
        """Whether a ShardedTensor entry is to hold it; a scalar has nothing to shard."""
        return self.form == "sharded" and self.shape != ()

    @property
    def rows(self) -> RowShape:
        """Its rows and their size in bytes."""
        num_rows, dim = (*self.shape, 1, 1)[:2]
        return RowShape(num_rows, dim * self.dtype.itemsize)


def check_contents(arrays: Sequence[ArrayToWrite], values: Mapping[str, Primitive]) -> None:
    """Refuse what torchsnapshot could not read back, and sources that are not what they are said to be.

    Raises:
        UsageError: `nothing-to-do` without an array and a value; `bad-option` for a path without a container, with an
            unescaped segment, named twice or also a container, with characters beyond U+FFFF or too long for the YAML
            parser that torchsnapshot 0.1.0 reads its metadata with.
        IncompatibleError: A source of another shape or dtype, or a dtype that torchsnapshot stores as a pickle.
    """
    if not arrays and not values:
        raise UsageError(ErrorKind.NOTHING_TO_DO, "a snapshot of nothing", hint="name at least one table")
    paths = [array.path for array in arrays] + list(values)
    taken: set[str] = set()
    containers = {container for path in paths for container in _containers(path)}
    for path in paths:
        _check_path(path)
        if path in taken or path in containers:
            _refuse_path(path, "is there twice", "one array or value for each path")
        taken.add(path)
    for path, value in values.items():
        if isinstance(value, str):
            _check_text(value, path)
    for array in arrays:
        _check_source(array)


def build_manifest(
    arrays: Sequence[ArrayToWrite],
    values: Mapping[str, Primitive],
    objects: Sequence[tuple[str, ObjectLayout]],
) -> Manifest:
    """The manifest of a snapshot of one rank: containers, then values, then arrays, as torchsnapshot orders them.

    A container that holds an array ending in `.weight` is an `OrderedDict`, as a module's state dict is; others are
    `dict`. Values and arrays of form `tensor` are marked replicated, so that every rank of a larger job gets them.

    Args:
        arrays: As checked by `check_contents`.
        values: By logical path.
        objects: Location and layout of every object.
    """
    shards: list[list[Shard]] = [[] for _ in arrays]
    for location, layout in objects:
        for piece in layout.pieces:
            shards[piece.array].append(_shard(arrays[piece.array], piece, location))
    entries: dict[str, Entry] = {}
    state_dicts = {array.path.rpartition("/")[0] for array in arrays if array.path.endswith(".weight")}
    for path, keys in _keys_by_container([*values, *(array.path for array in arrays)]).items():
        entries[f"0/{path}"] = ContainerEntry("OrderedDict" if path in state_dicts else "dict", tuple(keys))
    for path, value in values.items():
        entries[f"0/{path}"] = primitive_entry(value, replicated=True)
    for array, pieces in zip(arrays, shards, strict=True):
        entries[f"0/{array.path}"] = _array_entry(array, tuple(pieces))
    return Manifest(_VERSION, 1, entries)


def _shard(array: ArrayToWrite, piece: PlacedPiece, location: str) -> Shard:
    sizes = (piece.end_row - piece.start_row, *array.shape[1:]) if array.shape else ()
    offsets = (piece.start_row, *(0 for _ in array.shape[1:])) if array.shape else ()
    is_whole = not array.is_sharded and sizes == array.shape
    tensor = TensorEntry(location, "buffer_protocol", array.dtype.torch_name, sizes, is_whole, (piece.start, piece.end))
    return Shard(offsets, sizes, tensor)


def _array_entry(array: ArrayToWrite, pieces: tuple[Shard, ...]) -> ArrayEntry:
    """The entry for an array. torchsnapshot reads no tensor without bytes, but chunks of which there are none."""
    if array.is_sharded:
        return ShardedTensorEntry(pieces)
    num_elements = prod(array.shape)
    if len(pieces) == 1 and num_elements:
        return pieces[0].tensor
    chunks = pieces if num_elements else ()
    return ChunkedTensorEntry(array.dtype.torch_name, array.shape, chunks, replicated=True)


def _containers(path: str) -> Iterator[str]:
    """The paths of the containers that hold `path`, outermost first."""
    parts = path.split("/")
    return ("/".join(parts[:length]) for length in range(1, len(parts)))


def _keys_by_container(paths: Sequence[str]) -> dict[str, dict[str, None]]:
    """Each container's unescaped keys, parents before children, in the order in which the paths name them first."""
    keys: dict[str, dict[str, None]] = {}
    for path in paths:
        for container in _containers(path):
            child = path[len(container) + 1 :].partition("/")[0]
            keys.setdefault(container, {})[unescape(child)] = None
    return keys


def _check_path(path: str) -> None:
    if "/" not in path:
        _refuse_path(path, "names no container", "<app key>/<key>, such as model/ebc.embedding_bags.user.weight")
    for segment in path.split("/"):
        if escape(unescape(segment)) != segment:
            _refuse_path(path, "is not escaped", "%25 for % and %2F for / inside a key")
    _check_text(path, path)
    if len(json.dumps(f"0/{path}")) > _MAX_KEY_CHARS:
        _refuse_path(path, "is too long for torchsnapshot to read back", f"at most {_MAX_KEY_CHARS} characters")


def _check_text(text: str, path: str) -> None:
    if any(ord(char) > 0xFFFF or 0xD800 <= ord(char) < 0xE000 for char in text):
        _refuse_path(path, "holds a character that torchsnapshot cannot read back", "characters up to U+FFFF")


def _refuse_path(path: str, problem: str, expected: str) -> None:
    hint = "rename the table, or the prefix it is written under"
    raise UsageError(ErrorKind.BAD_OPTION, problem, where=ascii(path)[:200], expected=expected, hint=hint)


def _check_source(array: ArrayToWrite) -> None:
    source, expected = array.source, (*array.shape, 1, 1)[:2]
    if len(array.shape) > 2 or (source.num_rows, source.dim) != expected:
        raise IncompatibleError(
            ErrorKind.SHAPE_MISMATCH,
            "the rows are not of the shape they are to be written as",
            where=array.path,
            expected=array.shape,
            found=f"{source.num_rows} rows of {source.dim}",
            hint="give the shape that the source has",
        )
    if source.dtype.name != array.dtype.name or array.dtype.name.startswith("complex"):
        raise IncompatibleError(
            ErrorKind.DTYPE_MISMATCH,
            "the rows are not of the type they are to be written as, or of one that torchsnapshot pickles",
            where=array.path,
            expected=f"{array.dtype}, not complex",
            found=source.dtype.name,
            hint="cast the rows, or give the dtype that the source has",
        )
