"""The sidecar: written, read back, and refused when it cannot be right."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embsnap.errors import ErrorKind, SnapshotError
from embsnap.formats import sidecar as module
from embsnap.formats.sidecar import (
    Lineage,
    ObjectSums,
    Parent,
    Sidecar,
    TableVocabulary,
    parse_sidecar,
    sidecar_location,
)

SIDECAR = Sidecar(
    metadata_sha256="a1" * 32,
    tool="embsnap 0.1.0",
    created="2026-01-02T03:04:05+00:00",
    objects={
        "embsnap/0123456789ab-0/00000": ObjectSums(9, "01234567", 4, ("0" * 8, "1" * 8, "2" * 8)),
        "embsnap/0123456789ab-0/00001": ObjectSums(0, "00000000", 4, ()),
    },
    tables={"user": TableVocabulary("/data/vocab/user", "v1:int64:3:" + "f" * 32)},
    lineage=Lineage(
        parents=(Parent("/data/day1/7", "b2" * 32),),
        command="embsnap warmstart c.yaml --out /data/day2",
        plan_digest="c3" * 32,
        counts={"user": {"carried": 2, "new": 1, "dropped": 0}},
    ),
)


def _edited(edit: Callable[[dict[str, Any]], object]) -> bytes:
    document = json.loads(SIDECAR.to_bytes())
    edit(document)
    return json.dumps(document).encode()


def test_it_comes_back_as_written() -> None:
    assert parse_sidecar(SIDECAR.to_bytes()) == SIDECAR
    assert parse_sidecar(SIDECAR.to_bytes()).to_bytes() == SIDECAR.to_bytes()


def test_the_least_there_can_be() -> None:
    least = Sidecar("0" * 64, "", "", {})
    assert parse_sidecar(least.to_bytes()) == least


def test_its_place_depends_on_the_metadata() -> None:
    metadata = b"{}"
    assert sidecar_location(metadata) == f".embsnap/{hashlib.sha256(metadata).hexdigest()[:16]}.json"
    assert sidecar_location(b"{ }") != sidecar_location(metadata)


def test_unknown_fields_are_kept_at_every_level() -> None:
    def add(document: dict[str, Any]) -> None:
        levels = [
            document,
            document["tables"]["user"],
            document["objects"]["embsnap/0123456789ab-0/00000"],
            document["lineage"],
            document["lineage"]["parents"][0],
        ]
        for index, level in enumerate(levels):
            level["later"] = [index, {"x": None}]

    data = _edited(add)
    parsed = parse_sidecar(data)
    assert parsed.extra == {"later": [0, {"x": None}]}
    assert parsed.lineage is not None
    assert parsed.lineage.parents[0].extra == {"later": [4, {"x": None}]}
    assert json.loads(parsed.to_bytes()) == json.loads(data)


BAD_EDITS: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "schema": (lambda d: d.update(schema="other"), "embsnap.sidecar"),
    "version": (lambda d: d.update(version=2), "upgrade embsnap"),
    "version-bool": (lambda d: d.update(version=True), "sidecar.version"),
    "digest": (lambda d: d.update(metadata_sha256="A1" * 32), "64 lower-case hex"),
    "tool": (lambda d: d.pop("tool"), "sidecar.tool"),
    "objects": (lambda d: d.update(objects=[]), "sidecar.objects"),
    "unsafe": (lambda d: d["objects"].update({"../x": d["objects"].popitem()[1]}), "outside of the snapshot"),
    "absolute": (lambda d: d["objects"].update({"/x": d["objects"].popitem()[1]}), "outside of the snapshot"),
    "size": (lambda d: next(iter(d["objects"].values())).update(size=-1), "size"),
    "size-float": (lambda d: next(iter(d["objects"].values())).update(size=9.0), "size"),
    "size-huge": (lambda d: next(iter(d["objects"].values())).update(size=1 << 63), "size"),
    "no-blocks": (lambda d: next(iter(d["objects"].values())).update(block_bytes=0), "block_bytes"),
    "blocks": (lambda d: next(iter(d["objects"].values())).update(blocks=["0" * 8]), "3 for 9 bytes"),
    "sum": (lambda d: next(iter(d["objects"].values())).update(crc32c="١" * 8), "8 lower-case hex"),
    "table": (lambda d: d["tables"].update(user=None), "sidecar.tables.user"),
    "parents": (lambda d: d["lineage"].update(parents={}), "sidecar.lineage.parents"),
    "parent": (lambda d: d["lineage"].update(parents=[1]), r"parents\[0\]"),
    "counts": (lambda d: d["lineage"]["counts"]["user"].update(new="1"), "counts.user.new"),
}


@pytest.mark.parametrize("name", BAD_EDITS)
def test_wrong_fields_are_named(name: str) -> None:
    edit, part = BAD_EDITS[name]
    with pytest.raises(SnapshotError, match=part) as caught:
        parse_sidecar(_edited(edit))
    assert caught.value.kind in (ErrorKind.BAD_METADATA, ErrorKind.UNSAFE_LOCATION)
    assert caught.value.hint


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff\xfe",
        b"[]",
        b"null",
        b"{",
        b'{"schema": "embsnap.sidecar", "schema": "embsnap.sidecar"}',
        b'{"schema": NaN}',
        b'{"schema": 1e999}',
        SIDECAR.to_bytes().decode().encode("utf-16"),
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b'{"version": ' + b"9" * 10_000 + b"}",
    ],
)
def test_what_is_no_sidecar_is_refused(data: bytes) -> None:
    with pytest.raises(SnapshotError) as caught:
        parse_sidecar(data)
    assert caught.value.kind == ErrorKind.BAD_METADATA


def test_a_sidecar_that_is_too_large_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_SIDECAR_BYTES", 100)
    with pytest.raises(SnapshotError, match="at most 100 bytes"):
        parse_sidecar(SIDECAR.to_bytes())


@given(position=st.integers(0, len(SIDECAR.to_bytes()) - 1), byte=st.integers(0, 255))
def test_one_wrong_byte_is_refused_or_harmless(position: int, byte: int) -> None:
    data = bytearray(SIDECAR.to_bytes())
    data[position] = byte
    try:
        parsed = parse_sidecar(bytes(data))
    except SnapshotError:
        return
    assert parse_sidecar(parsed.to_bytes()) == parsed


def test_numpy_is_not_needed_to_read_one() -> None:
    code = "import embsnap.formats.sidecar, sys; print('numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"
