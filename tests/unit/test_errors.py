"""The error tree, its codes, and what an error says."""

from __future__ import annotations

import pickle

import pytest

from embsnap import errors
from embsnap.errors import EmbsnapError, ErrorKind, NotFoundError, SnapshotError

_TREE = {
    "GateError": (1, EmbsnapError),
    "UsageError": (2, EmbsnapError),
    "NotFoundError": (3, FileNotFoundError),
    "SnapshotError": (4, EmbsnapError),
    "IncompatibleError": (5, ValueError),
    "StorageError": (6, OSError),
    "RefusedError": (7, FileExistsError),
}


def test_the_tree_has_these_and_no_other():
    assert set(errors.__all__) == {*_TREE, "EmbsnapError", "ErrorKind"}


@pytest.mark.parametrize("name", _TREE)
def test_exit_code_and_bases(name):
    exit_code, builtin = _TREE[name]
    error_type = getattr(errors, name)
    assert error_type.exit_code == exit_code
    assert issubclass(error_type, EmbsnapError)
    assert issubclass(error_type, builtin)


def test_kinds_are_unique_and_named_alike():
    assert [kind.value for kind in ErrorKind] == [kind.name.lower().replace("_", "-") for kind in ErrorKind]


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({}, "it is torn"),
        ({"where": "/data/1"}, "/data/1: it is torn"),
        ({"where": "/data/1", "expected": 3, "found": 2}, "/data/1: it is torn (expected 3, found 2)"),
        ({"found": "nothing", "hint": "write it anew"}, "it is torn (found nothing)\n  try: write it anew"),
    ],
)
def test_message(fields, text):
    error = SnapshotError(ErrorKind.TORN_SNAPSHOT, "it is torn", **fields)
    assert str(error) == text
    assert repr(error) == f"SnapshotError('torn-snapshot', {text!r})"


@pytest.mark.parametrize("name", _TREE)
def test_it_survives_pickling(name):
    error = getattr(errors, name)(ErrorKind.NO_SUCH_TABLE, "no", where="here", expected="a", found="b", hint="c")
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is type(error)
    assert (str(copy), copy.kind, copy.where, copy.hint) == (str(error), error.kind, error.where, error.hint)


def test_a_missing_thing_can_be_caught_as_python_does():
    with pytest.raises(FileNotFoundError, match="no such table"):
        raise NotFoundError(ErrorKind.NO_SUCH_TABLE, "no such table")
