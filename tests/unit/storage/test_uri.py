"""URIs: which store they name, and how they are cut and joined."""

from __future__ import annotations

from pathlib import Path

import pytest

from embsnap.errors import ErrorKind, UsageError
from embsnap.storage.local import LocalStore
from embsnap.storage.memory import MemoryStore
from embsnap.storage.uri import join_uri, open_store, split_uri


@pytest.mark.parametrize("scheme", ["", "file://", "FILE://", "file://localhost"])
def test_local_paths(tmp_path: Path, scheme: str) -> None:
    store = open_store(f"{scheme}{tmp_path}/a b%20")
    assert isinstance(store, LocalStore)
    assert store.uri == f"{tmp_path}/a b%20"


def test_memory_stores_of_one_name_are_the_same() -> None:
    store = open_store("memory://uri-test/run/")
    assert isinstance(store, MemoryStore)
    store.create("7/a", b"x")
    assert open_store("memory://uri-test").read("run/7/a", limit=1) == b"x"
    assert open_store("memory://uri-test-2").children() == ()
    store.clear()
    assert list(open_store("memory://uri-test").list()) == []


@pytest.mark.parametrize(
    ("uri", "part"),
    [
        ("nosuch://bucket/run", "nosuch://"),
        ("gs://", "names nothing"),
        ("gs:///run", "names nothing"),
        ("s3://", "names nothing"),
        ("", "names nothing"),
        ("memory://", "names nothing"),
        ("file://", "names nothing"),
        ("file://host/x", "'host'"),
        ("a\0b", "names nothing"),
    ],
)
def test_what_is_not_supported_says_so_and_what_is(uri: str, part: str) -> None:
    with pytest.raises(UsageError, match=part) as caught:
        open_store(uri)
    assert caught.value.kind == ErrorKind.BAD_URI
    assert "file:///" in str(caught.value)


@pytest.mark.parametrize(
    ("uri", "root", "name"),
    [
        ("c.yaml", ".", "c.yaml"),
        ("/c.yaml", "/", "c.yaml"),
        ("a/b/c", "a/b", "c"),
        ("/a/b/", "/a", "b"),
        ("memory://n/f", "memory://n", "f"),
        ("memory://n/d/f", "memory://n/d", "f"),
        ("gs://b/f", "gs://b", "f"),
        ("gs://b/d/f/", "gs://b/d", "f"),
        ("s3://b/d/f", "s3://b/d", "f"),
        ("file:///x/y", "file:///x", "y"),
        ("file:///x", "file:///", "x"),
    ],
)
def test_split(uri: str, root: str, name: str) -> None:
    assert split_uri(uri) == (root, name)
    assert open_store(join_uri(root, name)).uri == open_store(uri).uri


@pytest.mark.parametrize("uri", ["/", "memory://n", "memory://n/", "gs://b", "gs://b/", "s3://b", "a/..", "."])
def test_split_wants_an_object(uri: str) -> None:
    with pytest.raises(UsageError, match="names no object") as caught:
        split_uri(uri)
    assert caught.value.kind == ErrorKind.BAD_URI


@pytest.mark.parametrize(
    ("uri", "parts", "joined"),
    [
        ("/data/", ("7", "a/"), "/data/7/a"),
        ("/", ("a",), "/a"),
        ("file:///", ("a",), "file:///a"),
        ("memory://x/", ("a", "b"), "memory://x/a/b"),
        ("rel", (), "rel"),
        ("gs://b", ("d", "f"), "gs://b/d/f"),
        ("gcs://b/d/", ("f",), "gs://b/d/f"),
    ],
)
def test_join(uri: str, parts: tuple[str, ...], joined: str) -> None:
    assert join_uri(uri, *parts) == joined
