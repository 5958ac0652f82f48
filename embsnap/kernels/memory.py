"""What numba has no words for: copying bytes, reading eight at a time, and telling the cache what is coming."""

from __future__ import annotations

from sys import byteorder
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

__all__ = [
    "copy_bytes",
    "copy_from",
    "fence",
    "load_word",
    "match_line",
    "moved",
    "prefetch",
    "prefetch_at",
    "stream_line",
    "unowned",
]


def _address(context: Any, builder: Any, array_type: Any, array: Any, offset: Any) -> Any:
    data = context.make_array(array_type)(context, builder, array).data
    return builder.gep(builder.bitcast(data, ir.IntType(8).as_pointer()), [offset])


@intrinsic
def copy_bytes(typing_context: Any, out_B: Any, out_start: Any, in_B: Any, in_start: Any, num_bytes: Any) -> Any:
    """`out_B[out_start : out_start + num_bytes] = in_B[in_start : in_start + num_bytes]` of two uint8 arrays.

    They must not overlap, and nothing is checked.
    """

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        out_address = _address(context, builder, signature.args[0], args[0], args[1])
        in_address = _address(context, builder, signature.args[2], args[2], args[3])
        cgutils.raw_memcpy(builder, out_address, in_address, args[4], 1)
        return context.get_dummy_value()

    return types.none(out_B, types.int64, in_B, types.int64, types.int64), generate


@intrinsic
def copy_from(typing_context: Any, out_B: Any, out_start: Any, address: Any, num_bytes: Any) -> Any:
    """`out_B[out_start : out_start + num_bytes]` from the memory at `address`. Nothing is checked."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        out_address = _address(context, builder, signature.args[0], args[0], args[1])
        in_address = builder.inttoptr(args[2], ir.IntType(8).as_pointer())
        cgutils.raw_memcpy(builder, out_address, in_address, args[3], 1)
        return context.get_dummy_value()

    return types.none(out_B, types.int64, types.int64, types.int64), generate


@intrinsic
def load_word(typing_context: Any, in_B: Any, start: Any) -> Any:
    """The bytes `[start, start + 8)` of a uint8 array as a little-endian uint64. Nothing is checked."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        address = _address(context, builder, signature.args[0], args[0], args[1])
        word = builder.load(builder.bitcast(address, ir.IntType(64).as_pointer()), typ=ir.IntType(64))
        word.align = 1
        return word if byteorder == "little" else builder.bswap(word)

    return types.uint64(in_B, types.int64), generate


@intrinsic
def prefetch(typing_context: Any, array: Any, offset_bytes: Any) -> Any:
    """Ask for the cache line `offset_bytes` bytes behind the start of `array`. A hint: any address is allowed."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        _prefetch(builder, _address(context, builder, signature.args[0], args[0], args[1]))
        return context.get_dummy_value()

    return types.none(array, types.int64), generate


@intrinsic
def prefetch_at(typing_context: Any, address: Any) -> Any:
    """Ask for the cache line at an address. A hint: any address is allowed."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        _prefetch(builder, builder.inttoptr(args[0], ir.IntType(8).as_pointer()))
        return context.get_dummy_value()

    return types.none(types.int64), generate


def _prefetch(builder: Any, address: Any) -> None:
    int32 = ir.IntType(32)
    function_type = ir.FunctionType(ir.VoidType(), [address.type, int32, int32, int32])
    function = cgutils.get_or_insert_function(builder.module, function_type, "llvm.prefetch.p0")
    builder.call(function, [address, int32(0), int32(3), int32(1)])


@intrinsic
def match_line(typing_context: Any, array: Any, offset_bytes: Any, word: Any) -> Any:
    """The largest of the last four signed words of a line of 64 bytes whose counterpart of the first four is `word`.

    It is -1 where none is. The line begins `offset_bytes` bytes behind the start of the array. All four are looked at
    together, so that no branch has to guess which of them it is.
    """

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        int32, four = ir.IntType(32), ir.VectorType(ir.IntType(64), 4)
        words_address = _address(context, builder, signature.args[0], args[0], args[1])
        values_address = builder.gep(words_address, [ir.IntType(64)(32)])
        words, values = (
            builder.load(builder.bitcast(address, four.as_pointer()), typ=four)
            for address in (words_address, values_address)
        )
        words.align = values.align = 8
        first = builder.insert_element(ir.Constant(four, ir.Undefined), args[2], int32(0))
        asked = builder.shuffle_vector(first, first, ir.Constant(ir.VectorType(int32, 4), [0] * 4))
        matching = builder.icmp_signed("==", words, asked)
        found = builder.select(matching, values, ir.Constant(four, [ir.IntType(64)(-1)] * 4))
        function_type = ir.FunctionType(ir.IntType(64), [four])
        largest = cgutils.get_or_insert_function(builder.module, function_type, "llvm.vector.reduce.smax.v4i64")
        return builder.call(largest, [found])

    return types.int64(array, types.int64, types.uint64), generate


@intrinsic
def stream_line(typing_context: Any, out: Any, out_start: Any, array: Any, start: Any) -> Any:
    """Copy 64 bytes from `start` bytes into `array` to `out_start` bytes into `out`, past the caches where possible.

    The destination's address is a multiple of 64. Other threads see the bytes after a `fence`.
    """

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        line = ir.VectorType(ir.IntType(64), 8)
        out_address = _address(context, builder, signature.args[0], args[0], args[1])
        address = _address(context, builder, signature.args[2], args[2], args[3])
        value = builder.load(builder.bitcast(address, line.as_pointer()), typ=line)
        value.align = 8
        store = builder.store(value, builder.bitcast(out_address, line.as_pointer()), align=64)
        store.set_metadata("nontemporal", builder.module.add_metadata([ir.IntType(32)(1)]))
        return context.get_dummy_value()

    return types.none(out, types.int64, array, types.int64), generate


@intrinsic
def fence(typing_context: Any) -> Any:
    """All that this thread has stored is visible to the others before anything that it stores after."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        builder.fence("seq_cst")
        return context.get_dummy_value()

    return types.none(), generate


@intrinsic
def unowned(typing_context: Any, array: Any) -> Any:
    """The same array without an owner, so that passing it on counts no references; another reference keeps it alive.

    Counting is atomic, and threads that count references to one array in their inner loops wait for each other.
    """

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        view = context.make_array(signature.args[0])(context, builder, args[0])
        view.meminfo = ir.Constant(view.meminfo.type, None)
        view.parent = ir.Constant(view.parent.type, None)
        return view._getvalue()

    return array(array), generate


@intrinsic
def moved(typing_context: Any, array: Any, offset_bytes: Any) -> Any:
    """An array of the same shape without an owner, that begins `offset_bytes` bytes behind it. Nothing is checked."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        array_type = signature.args[0]
        view = context.make_array(array_type)(context, builder, args[0])
        address = builder.gep(builder.bitcast(view.data, ir.IntType(8).as_pointer()), [args[1]])
        view.data = builder.bitcast(address, view.data.type)
        view.meminfo = ir.Constant(view.meminfo.type, None)
        view.parent = ir.Constant(view.parent.type, None)
        return view._getvalue()

    return array(array, types.int64), generate
