"""A store that takes back what was written through it."""

from __future__ import annotations

import pytest

from embsnap.errors import RefusedError
from embsnap.storage.memory import MemoryStore
from embsnap.storage.recording import RecordingStore


@pytest.fixture
def store(request):
    return RecordingStore(MemoryStore(f"memory://recording/{request.node.name}"))


def test_it_takes_back_its_own_alone(store):
    store.inner.create("theirs", b"1")
    store.create("a", b"22")
    with store.writer("b") as writer:
        writer.write(b"333")
    with pytest.raises(RefusedError):
        store.create("theirs", b"4")
    with pytest.raises(KeyError), store.writer("c") as writer:
        raise KeyError
    late = store.writer("theirs")
    late.write(b"5")
    with pytest.raises(RefusedError):
        late.close()
    late.abort()
    assert [(info.location, info.size) for info in store.written] == [("a", 2), ("b", 3)]
    store.withdraw()
    assert [info.location for info in store.list()] == ["theirs"]
    assert store.written == []
