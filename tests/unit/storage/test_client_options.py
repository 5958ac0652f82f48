"""Settings of storage clients, as text."""

from __future__ import annotations

import sys

import pytest

from embsnap.errors import ErrorKind, UsageError
from embsnap.storage.client_options import client_settings, file_system_class, timeout_of
from embsnap.storage.uri import open_store


class _Client:
    def __init__(self, project: str = "", requester_pays: bool = False, session: object = None, loop: object = None):
        pass


def test_text_becomes_what_the_client_takes() -> None:
    given = {"project": "p=1", "requester_pays": "True", "session": '{"trust_env": true}', "timeout": "3"}
    assert client_settings(given, _Client) == {
        "project": "p=1",
        "requester_pays": True,
        "session": {"trust_env": True},
    }
    assert client_settings({"project": "none"}, _Client) == {"project": None}


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [("projekt", "x", "try: project=x"), ("loop", "x", "is no setting"), ("session", "{x", "no proper JSON")],
)
def test_what_is_no_setting_says_so(key: str, value: str, said: str) -> None:
    with pytest.raises(UsageError, match=said) as caught:
        client_settings({key: value}, _Client)
    assert (caught.value.kind, caught.value.where) == (ErrorKind.BAD_OPTION, key)


def test_the_settings_of_a_store_are_checked_when_it_is_opened() -> None:
    with pytest.raises(UsageError, match="token") as caught:
        open_store("gs://bucket", {"tokn": "anon"})
    assert caught.value.hint == "token=anon"


@pytest.mark.parametrize("text", ["0", "-1", "x", "nan", "inf", ""])
def test_no_timeout(text: str) -> None:
    with pytest.raises(UsageError, match="above 0") as caught:
        open_store("gs://bucket", {"timeout": text})
    assert caught.value.kind is ErrorKind.BAD_OPTION


def test_timeouts() -> None:
    assert timeout_of({}) == 60
    assert timeout_of({"timeout": "2.5"}) == 2.5


def test_a_scheme_whose_package_is_missing_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "adlfs", None)
    with pytest.raises(UsageError, match=r"embsnap\[azure\]") as caught:
        open_store("az://container/run")
    assert caught.value.kind is ErrorKind.MISSING_PACKAGE
    with pytest.raises(UsageError, match="reads no such URIs") as caught:
        file_system_class("nosuch")
    assert caught.value.kind is ErrorKind.BAD_URI
