"""How a DTensor lies over its mesh of ranks."""

from __future__ import annotations

from typing import Any

from embsnap.model.manifest import DTensorEntry

__all__ = ["is_copy", "num_parts"]


def is_copy(entry: DTensorEntry) -> bool:
    """True if every rank of the mesh has the whole array; the lowest one's is stored."""
    return all(dim < 0 for dims in entry.dim_map for dim in dims)


def num_parts(entry: DTensorEntry) -> int:
    """Into how many parts its mesh cuts the array; trailing ones may be empty. 0 if the mesh does not say."""
    shape = _mesh_shape(entry.mesh)
    parts = 1
    for dim in (dim for dims in entry.dim_map for dim in dims if dim >= 0):
        parts *= shape[dim] if dim < len(shape) else 0
    return parts


def _mesh_shape(mesh: Any) -> list[int]:
    """Lengths of nested lists, by their first elements."""
    shape = []
    while isinstance(mesh, list):
        shape.append(len(mesh))
        mesh = mesh[0] if mesh else None
    return shape
