"""Modules are loaded in another process: one that crashes is a result."""

from __future__ import annotations

import pytest

from embsnap.live.probes import probe
from embsnap.ops.doctor import Loading


@pytest.fixture
def module(tmp_path, monkeypatch):
    """Writes a module that the other process finds."""
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    def write(name, source):
        (tmp_path / f"{name}.py").write_text(source)
        return name

    return write


def test_a_module_that_loads(module):
    name = module("sound", "print('chatter')")
    assert probe([name]) == {name: Loading(loaded=True)}


def test_what_keeps_a_module_from_loading(module):
    modules = [
        module("raises", "raise OSError('libnone.so: cannot open\\nmore')"),
        module("lacks", "import no_such_package"),
        module("sound", ""),
    ]
    assert probe(modules) == {
        "raises": Loading(False, "OSError: libnone.so: cannot open"),
        "lacks": Loading(False, "No module named 'no_such_package'", missing="no_such_package"),
        "sound": Loading(True),
    }


def test_the_modules_after_a_crash_are_tried_all_the_same(module):
    modules = [
        module("crashes", "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)"),
        module("leaves", "import os, sys; print('out of here', file=sys.stderr, flush=True); os._exit(3)"),
        module("sound", ""),
    ]
    assert probe(modules) == {
        "crashes": Loading(False, "the process died of SIGSEGV"),
        "leaves": Loading(False, "the process ended with 3: out of here"),
        "sound": Loading(True),
    }


def test_a_module_that_hangs_is_given_up(module):
    module("hangs", "import time; time.sleep(60)")
    results = probe([module("sound", ""), "hangs"], timeout_s=1.5)
    assert results["sound"].loaded
    assert results["hangs"] == Loading(False, "it took more than 2 s")


def test_what_needs_a_module_that_crashes_is_not_tried(module):
    module("torch", "import os, signal; os.kill(os.getpid(), signal.SIGABRT)")
    modules = ["torch", "fbgemm_gpu", "torchrec", "torchsnapshot", module("sound", "")]
    assert probe(modules) == {"torch": Loading(False, "the process died of SIGABRT"), "sound": Loading(True)}
