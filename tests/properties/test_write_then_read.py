"""Whatever is written is read back, and neither block size nor threads change a byte.

Shape suffixes: V rows of a table, D embedding_dim.
"""

from __future__ import annotations

from itertools import count
from typing import Any
from unittest import mock

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from numpy.typing import NDArray

from embsnap.formats.dtypes import from_numpy
from embsnap.formats.torchsnapshot import layout
from embsnap.formats.torchsnapshot.snapshot import open_snapshot
from embsnap.formats.torchsnapshot.writer import ArrayToWrite, write_snapshot
from embsnap.model.paths import escape
from embsnap.storage.memory import MemoryStore
from embsnap.testing.tables import ArrayRows, read_array

_numbers = count()
_KEYS = st.text(st.characters(max_codepoint=0xFFFF, exclude_categories=["Cs"]), min_size=1, max_size=20)
_SHAPES = npst.array_shapes(min_dims=1, max_dims=2, min_side=0, max_side=40)
_TABLES = st.dictionaries(
    _KEYS,
    st.tuples(
        npst.arrays(st.sampled_from(["float32", "float16", "int64", "uint8"]), _SHAPES),
        st.sampled_from(["sharded", "tensor"]),
    ),
    min_size=1,
    max_size=4,
)


def _write(tables: dict[str, tuple[NDArray[Any], Any]], **options: int) -> MemoryStore:
    store = MemoryStore(f"memory://properties-{next(_numbers)}")
    arrays = [
        ArrayToWrite(
            f"model/{escape(key)}",
            from_numpy(array.dtype),
            array.shape,
            ArrayRows(array.reshape(len(array), array.shape[1] if array.ndim == 2 else 1)),
            form,
        )
        for key, (array, form) in tables.items()
    ]
    write_snapshot(store, arrays, plan_digest="ab" * 32, **options)
    return store


@settings(max_examples=60, deadline=None)
@given(
    tables=_TABLES,
    limits=st.tuples(st.integers(1, 500), st.integers(1, 2000)),
    block_bytes=st.integers(1, 600),
    threads=st.integers(1, 4),
)
def test_write_then_read(
    tables: dict[str, tuple[NDArray[Any], Any]], limits: tuple[int, int], block_bytes: int, threads: int
) -> None:
    with mock.patch.multiple(layout, PIECE_BYTES=limits[0], OBJECT_BYTES=limits[1]):
        store = _write(tables, block_bytes=block_bytes, threads=threads)
        plain = _write(tables)
    snapshot = open_snapshot(store.uri)
    assert snapshot.findings == ()
    for key, (array, _) in tables.items():
        found = read_array(snapshot, snapshot.array(f"model/{escape(key)}"))
        assert (found.dtype, found.shape, found.tobytes()) == (array.dtype, array.shape, array.tobytes())
    objects = [info.location for info in store.list() if not info.location.startswith(".embsnap/")]
    assert objects == [info.location for info in plain.list() if not info.location.startswith(".embsnap/")]
    for location in objects:
        if not location.endswith("/run.json"):  # whose token tells it from any other claim
            assert bytes(store.map(location)) == bytes(plain.map(location)), location
    store.clear()
    plain.clear()
