"""How kernels are compiled: without the GIL, never parallel inside, and kept on disk between processes.

A kernel works on a range of rows or of partitions and `embsnap.kernels.threads` runs several of them; numba's own
threading layers are never loaded. The first call compiles a kernel (under numba's own lock, so that several threads
may meet there) and later processes load it from the cache. numba notices a change of the file that holds a kernel,
not of one that holds a primitive used by it: after editing a primitive, delete `embsnap/kernels/__pycache__`.

Each kernel is meant to be compiled once per element type, so callers pass arrays of one layout: `frozen` makes inputs
C-contiguous, aligned and read-only, and outputs are fresh arrays.

The logger `embsnap.kernels` is told when a process compiles its first kernel: a command takes some seconds more then.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
from numba import njit
from numba.core import event
from numpy.typing import DTypeLike, NDArray

__all__ = ["frozen", "kernel", "primitive", "summing_kernel"]

F = TypeVar("F", bound=Callable[..., Any])

_log = logging.getLogger("embsnap.kernels")


def kernel(function: F) -> F:
    """Compile `function` at its first call, release the GIL in it, and cache the result where that is possible."""
    return _compiled(function)


def summing_kernel(function: F) -> F:
    """As `kernel`, and the terms of its floating-point sums may be added in another order, so that they are vectorised.

    A sum over one row comes out the same wherever the row lies; NaN, infinity and signed zero keep their meaning.
    """
    return _compiled(function, fastmath={"reassoc", "contract"})


def _compiled(function: F, **settings: Any) -> F:
    try:
        return njit(nogil=True, cache=True, **settings)(function)  # type: ignore[no-any-return]
    except RuntimeError:  # neither the package's directory nor the user's cache directory can be written
        return njit(nogil=True, **settings)(function)  # type: ignore[no-any-return]


def primitive(function: F) -> F:
    """Compile `function` as a part of the kernels that call it."""
    return njit(nogil=True, forceinline=True)(function)  # type: ignore[no-any-return]


class _Compilations(event.Listener):  # type: ignore[misc]
    """Tells the logger of the first compilation in this process."""

    is_first = True

    def on_start(self, compilation: event.Event) -> None:
        if self.is_first:
            self.is_first = False
            _log.info("compiling kernels for this processor; later runs load them")

    def on_end(self, compilation: event.Event) -> None:
        """Nothing: what follows is told by whoever called the kernel."""


event.register("numba:compile", _Compilations())


def frozen(array: NDArray[Any], dtype: DTypeLike) -> NDArray[Any]:
    """A read-only, C-contiguous, aligned view of `array` as `dtype`; a copy only where it is none of that yet."""
    view = np.require(array, dtype=dtype, requirements=["C", "A"]).view()
    view.flags.writeable = False
    return view
