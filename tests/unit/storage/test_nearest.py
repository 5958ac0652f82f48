"""What is suggested to somebody who mistyped a URI."""

from __future__ import annotations

from pathlib import Path

import pytest

from embsnap.errors import NotFoundError
from embsnap.storage.nearest import hint_near, read_object
from embsnap.storage.uri import open_store
from tests.servers.gcs import Bucket


@pytest.mark.parametrize(
    ("path", "hint"),
    [
        ("runs/dai/7", "did you mean {}/runs/day/7"),
        ("rnus/day/7", "did you mean {}/runs/day/7"),
        ("runs/day/8", "check the spelling of the URI; in {}/runs/day there are 12/, 7/"),
        ("runs/zzz", "check the spelling of the URI; in {}/runs there is day/"),
        ("config.yml", "did you mean {}/config.yaml"),
    ],
)
def test_hints(gcs: Bucket, path: str, hint: str) -> None:
    for name in ("runs/day/7/a", "runs/day/12/a", "config.yaml"):
        gcs.put(name, b"x")
    assert hint_near(gcs.uri(path)) == hint.format(gcs.uri())


def test_nothing_to_suggest(gcs: Bucket) -> None:
    assert hint_near(gcs.uri("runs")) == "check the spelling of the URI"
    assert hint_near("gs://no-such-bucket-here/runs") == "check the spelling of the URI"


def test_an_empty_directory_is_not_taken_for_another(tmp_path: Path) -> None:
    (tmp_path / "events").mkdir()
    for uri in (tmp_path / "events", tmp_path / "events" / "today"):
        assert hint_near(str(uri)) == f"there is no file in {tmp_path / 'events'} yet"


def test_a_missing_object_comes_with_names_like_it() -> None:
    store = open_store("memory://nearest")
    store.create("d/config.yaml", b"x: 1")
    assert read_object("memory://nearest/d/config.yaml", limit=10) == b"x: 1"
    with pytest.raises(NotFoundError, match=r"did you mean memory://nearest/d/config\.yaml") as caught:
        read_object("memory://nearest/d/confg.yaml", limit=10)
    assert caught.value.where == "memory://nearest/d/confg.yaml"


def test_a_directory_where_a_file_is_needed() -> None:
    open_store("memory://nearest-directory").create("d/config.yaml", b"x: 1")
    with pytest.raises(NotFoundError, match="d: is a directory, and a file is needed"):
        read_object("memory://nearest-directory/d", limit=10)
