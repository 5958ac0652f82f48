"""The element types that a snapshot may hold, by torch's names. No numpy here: metadata is read without it."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["DTYPES", "DType"]


@dataclass(frozen=True, slots=True)
class DType:
    """One element type."""

    name: str
    """As numpy and ml_dtypes name it: `float32`, `bfloat16`."""
    itemsize: int
    """In bytes."""
    is_floating: bool

    @property
    def torch_name(self) -> str:
        """As manifests write it: `torch.float32`."""
        return f"torch.{self.name}"

    def __str__(self) -> str:
        return self.name


def _dtypes() -> dict[str, DType]:
    floating = {"float64": 8, "float32": 4, "float16": 2, "bfloat16": 2}
    other = {"int64": 8, "int32": 4, "int16": 2, "int8": 1, "uint8": 1, "bool": 1, "complex64": 8, "complex128": 16}
    pairs = [(name, size, True) for name, size in floating.items()]
    pairs += [(name, size, False) for name, size in other.items()]
    return {name: DType(name, size, is_floating) for name, size, is_floating in pairs}


DTYPES: dict[str, DType] = _dtypes()
"""By name without `torch.`. Quantised types are not in it: their bytes are pickled."""
