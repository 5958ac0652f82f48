"""Application state as the leaves of nested containers, each under its logical path."""

from __future__ import annotations

import io
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from torch.nn.parallel import DistributedDataParallel
from torchrec.distributed.types import ShardedTensor

from embsnap.errors import ErrorKind, IncompatibleError, UsageError
from embsnap.formats.torchsnapshot.encoding import Primitive
from embsnap.live.parts import LocalPart, dtype_of, is_sharded, local_parts, shape_of
from embsnap.model.dtypes import DTYPES, DType
from embsnap.model.manifest import ContainerEntry
from embsnap.model.paths import child_path, escape

__all__ = ["Leaf", "PickleLeaf", "ShardedLeaf", "StateTree", "TensorLeaf", "ValueLeaf", "state_tree"]

_PRIMITIVES = (int, str, bool, bytes, float)


@dataclass(frozen=True, slots=True, eq=False)
class ShardedLeaf:
    """A tensor of which each rank holds parts."""

    shape: tuple[int, ...]
    """Of the whole."""
    dtype: DType
    parts: tuple[LocalPart, ...]


@dataclass(frozen=True, slots=True, eq=False)
class TensorLeaf:
    """A tensor that this rank holds whole."""

    tensor: Tensor
    dtype: DType


@dataclass(frozen=True, slots=True)
class ValueLeaf:
    """A plain value, which stands in the manifest itself."""

    value: Primitive


@dataclass(frozen=True, slots=True)
class PickleLeaf:
    """What only torch's own serialisation can hold: None, tuples, complex and quantised tensors."""

    data: bytes
    """As `torch.save` writes it and `torch.load(weights_only=True)` reads it."""
    type: str
    """`builtins.NoneType`, or a tensor's dtype: `torch.complex64`."""
    shape: tuple[int, ...] | None
    """Of a tensor."""


Leaf: TypeAlias = ShardedLeaf | TensorLeaf | ValueLeaf | PickleLeaf


@dataclass(frozen=True, slots=True)
class StateTree:
    """What one rank has to save."""

    containers: dict[str, ContainerEntry] = field(default_factory=dict)
    """By logical path, parents first."""
    leaves: dict[str, Leaf] = field(default_factory=dict)
    """By logical path."""
    modules: set[str] = field(default_factory=set)
    """App keys whose state is a module's."""
    broadcast: set[str] = field(default_factory=set)
    """Logical paths of tensors that every rank takes from rank 0 before it next uses them."""


def state_tree(app_state: Mapping[str, Any]) -> StateTree:
    """Walk application state: what has a `state_dict()` gives that, dicts and lists are containers, the rest leaves.

    Args:
        app_state: App key → module, optimizer, or any nesting of dicts and lists.

    Raises:
        UsageError: `bad-option`: a value that could not be loaded again without running code, or a meta tensor.
        IncompatibleError: `not-representable`: a tensor of a type that the format does not have.
    """
    tree = StateTree()
    for key, stateful in app_state.items():
        state = stateful.state_dict() if hasattr(stateful, "state_dict") else stateful
        _walk(tree, escape(key), state)
        if isinstance(stateful, nn.Module):
            tree.modules.add(key)
            tree.broadcast.update(_broadcast(tree, escape(key), stateful))
    return tree


def _broadcast(tree: StateTree, app_key: str, module: nn.Module) -> set[str]:
    """The buffers that DistributedDataParallel sends to all ranks at the beginning of each forward."""
    addresses = {
        buffer.data_ptr()
        for part in module.modules()
        if isinstance(part, DistributedDataParallel) and part.broadcast_buffers
        for name, buffer in part.module.named_buffers()
        if name not in part.parameters_to_ignore and buffer.numel()
    }
    return {
        path
        for path, leaf in tree.leaves.items()
        if path.startswith(f"{app_key}/") and isinstance(leaf, TensorLeaf) and leaf.tensor.data_ptr() in addresses
    }


def _walk(tree: StateTree, path: str, value: Any) -> None:
    if not _is_container(value):
        tree.leaves[path] = _leaf(path, value)
        return
    if isinstance(value, list):
        tree.containers[path] = ContainerEntry("list", ())
        children: Iterator[tuple[Any, Any]] = iter(enumerate(value))
    else:
        kind = "OrderedDict" if isinstance(value, OrderedDict) else "dict"
        tree.containers[path] = ContainerEntry(kind, tuple(value))
        children = iter(value.items())
    for key, child in children:
        _walk(tree, child_path(path, key), child)


def _is_container(value: object) -> bool:
    """Lists, and dicts whose keys stay apart as text."""
    if not isinstance(value, dict):
        return isinstance(value, list)
    return all(type(key) in (str, int) for key in value) and len({str(key) for key in value}) == len(value)


def _leaf(path: str, value: Any) -> Leaf:
    if isinstance(value, np.generic):
        value = value.item()  # a pickle of numpy is one that torch refuses to load
    if type(value) in _PRIMITIVES:
        return ValueLeaf(value)
    if isinstance(value, Tensor | ShardedTensor):
        return _tensor(path, value)
    data = _pickled(path, value)
    return PickleLeaf(data, f"{type(value).__module__}.{type(value).__qualname__}", None)


def _tensor(path: str, value: Tensor | ShardedTensor) -> Leaf:
    dtype = DTYPES.get(str(dtype_of(value)).removeprefix("torch."))
    is_plain = dtype is not None and not dtype.name.startswith("complex") and _is_dense(value)
    if is_sharded(value) and dtype is not None and is_plain:
        parts = local_parts(value)
        for part in parts:
            _check_has_values(path, part.tensor)
        return ShardedLeaf(shape_of(value), dtype, parts)
    if isinstance(value, ShardedTensor | DTensor):
        raise _not_representable(path, value)
    _check_has_values(path, value)
    if is_plain and dtype is not None:
        return TensorLeaf(value.detach(), dtype)
    if value.is_complex() or value.is_quantized:
        data = _pickled(path, value.detach().cpu().clone())
        return PickleLeaf(data, str(value.dtype), tuple(value.shape))
    raise _not_representable(path, value)


def _is_dense(value: Tensor | ShardedTensor) -> bool:
    return isinstance(value, ShardedTensor) or value.layout is torch.strided


def _check_has_values(path: str, tensor: Tensor) -> None:
    if tensor.is_meta:
        raise UsageError(
            ErrorKind.BAD_OPTION,
            "the tensor is on the meta device and has no values",
            where=path,
            expected="a tensor with storage",
            found="meta",
            hint="materialise the module, or shard it, before it is saved",
        )


def _pickled(path: str, value: Any) -> bytes:
    """Bytes that torch loads again without being told to trust them.

    Raises:
        UsageError: `bad-option`: it would refuse to.
    """
    buffer = io.BytesIO()
    try:
        torch.save(value, buffer)
        buffer.seek(0)
        torch.load(buffer, weights_only=True)
    except Exception as error:
        raise UsageError(
            ErrorKind.BAD_OPTION,
            "the value could be saved only as a pickle that runs code when it is loaded",
            where=path,
            expected="tensors, plain values, None, and tuples, lists and dicts of them",
            found=f"{type(value).__module__}.{type(value).__qualname__}",
            hint="save it as tensors and plain values",
        ) from error
    return buffer.getvalue()


def _not_representable(path: str, value: Tensor | ShardedTensor) -> IncompatibleError:
    return IncompatibleError(
        ErrorKind.NOT_REPRESENTABLE,
        "torchsnapshot's format has no such tensor",
        where=path,
        expected="a dense tensor of " + ", ".join(name for name in DTYPES if not name.startswith("complex")),
        found=f"{dtype_of(value)}{'' if _is_dense(value) else ', sparse'}{', sharded' if is_sharded(value) else ''}",
        hint="cast it, or leave it out of what is saved",
    )
