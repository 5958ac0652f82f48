"""Copying past the caches: for what is written now and read much later, if at all.

An ordinary store first reads the line of memory that it writes to, and throws out of the cache what others need. A
nontemporal one does neither. Processors look ahead to the end of a page of 4 KiB only, so the source is asked for
further ahead (figures: docs/decisions/0012). The function is compiled by llvmlite alone, in 10 ms: numba's first kernel
takes thirty times that.
"""

from __future__ import annotations

from collections.abc import Callable
from ctypes import CFUNCTYPE, c_int64
from functools import cache
from typing import Any

import numpy as np
from llvmlite import binding, ir
from numpy.typing import NDArray

__all__ = ["copy_past_caches"]

_LINE_BYTES = 64
_AHEAD_BYTES = 2048


def copy_past_caches(src_B: NDArray[np.uint8], dst_B: NDArray[np.uint8]) -> None:
    """`dst_B[:] = src_B`. The GIL is released.

    Args:
        src_B: C-contiguous `uint8[B]`, at any address.
        dst_B: The same, writable; it shares no memory with `src_B`. Once this returns, all threads see what it holds.

    Raises:
        ValueError: They are not of one length, not contiguous, or `dst_B` is read-only.
    """
    if len(src_B) != len(dst_B) or not (src_B.flags.c_contiguous and dst_B.flags.c_contiguous):
        raise ValueError(f"{len(src_B)} bytes {src_B.strides} do not fit {len(dst_B)} {dst_B.strides}")
    if not dst_B.flags.writeable:
        raise ValueError("the destination is read-only")
    head = min(-dst_B.ctypes.data % _LINE_BYTES, len(dst_B))
    end = head + (len(dst_B) - head) // _LINE_BYTES * _LINE_BYTES
    dst_B[:head] = src_B[:head]
    if head < end:
        _, copy_lines = _compiled()
        copy_lines(dst_B.ctypes.data + head, src_B.ctypes.data + head, end - head)
    dst_B[end:] = src_B[end:]


@cache
def _compiled() -> tuple[Any, Callable[[int, int, int], None]]:
    """What owns the machine code, and the function: `(to, from, bytes)`."""
    binding.initialize_native_target()
    binding.initialize_native_asmprinter()
    target = binding.Target.from_default_triple().create_target_machine(
        cpu=binding.get_host_cpu_name(), features=binding.get_host_cpu_features().flatten()
    )
    engine = binding.create_mcjit_compiler(binding.parse_assembly(str(_copy_lines())), target)
    engine.finalize_object()
    return engine, CFUNCTYPE(None, c_int64, c_int64, c_int64)(engine.get_function_address("copy_lines"))


def _copy_lines() -> ir.Module:
    """A loop over lines; `to` and `bytes`, which are not 0, are multiples of their size."""
    module = ir.Module("streaming")
    byte, int32, int64, line = ir.IntType(8), ir.IntType(32), ir.IntType(64), ir.VectorType(ir.IntType(64), 8)
    prefetched = ir.FunctionType(ir.VoidType(), [byte.as_pointer(), int32, int32, int32])
    prefetch = ir.Function(module, prefetched, "llvm.prefetch.p0")
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), [int64] * 3), "copy_lines")
    to, from_, num_bytes = function.args
    entry, loop, done = (function.append_basic_block(name) for name in ("entry", "loop", "done"))
    builder = ir.IRBuilder(entry)
    builder.branch(loop)
    builder.position_at_end(loop)
    at = builder.phi(int64)
    source = builder.add(from_, at)
    ahead = builder.inttoptr(builder.add(source, int64(_AHEAD_BYTES)), byte.as_pointer())
    builder.call(prefetch, [ahead, int32(0), int32(3), int32(1)])
    value = builder.load(builder.inttoptr(source, line.as_pointer()), align=1)
    store = builder.store(value, builder.inttoptr(builder.add(to, at), line.as_pointer()), align=_LINE_BYTES)
    store.set_metadata("nontemporal", module.add_metadata([int32(1)]))
    following = builder.add(at, int64(_LINE_BYTES))
    at.add_incoming(int64(0), entry)
    at.add_incoming(following, loop)
    builder.cbranch(builder.icmp_unsigned("<", following, num_bytes), loop, done)
    builder.position_at_end(done)
    builder.fence("seq_cst")
    builder.ret_void()
    return module
