"""Who loads what: a command pays only for what it uses."""

from __future__ import annotations

import subprocess
import sys

import pytest

_TORCH = {"torch", "torchrec", "torchsnapshot", "fbgemm_gpu"}
_HEAVY = {"numpy", "pydantic", "pyarrow", "numba", "rich", "yaml", *_TORCH}


def _loaded_by(statements):
    """Top-level packages that a fresh interpreter has after the statements."""
    code = f"{statements}\nimport sys\nprint(*{{name.split('.')[0] for name in sys.modules}})"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    return set(run.stdout.split())


def test_importing_the_package_loads_nothing_heavy():
    assert _loaded_by("import embsnap; dir(embsnap)") & _HEAVY == set()


def test_the_command_line_leaves_heavy_packages_alone():
    assert _loaded_by("from embsnap.cli.main import main; main(['--version'])") & _HEAVY == set()


def test_inspect_loads_nothing_heavy():
    assert _loaded_by("import embsnap.cli.inspect") & _HEAVY == set()


def test_no_command_loads_torch_before_it_runs(entries):
    statements = "\n".join(f"import {entry.module}" for entry in entries.values())
    assert _loaded_by(statements) & _TORCH == set()


def test_nothing_outside_live_needs_torch(modules):
    """Each of its modules imports where torch is not installed at all."""
    names = [module.name for module in modules if ".live" not in module.name and "__main__" not in module.name]
    blocked = f"import sys\nsys.modules.update(dict.fromkeys({sorted(_TORCH)!r}))\n"
    # a None in sys.modules makes its import fail; taken out again so that it does not count as loaded
    cleanup = f"\nfor name in {sorted(_TORCH)!r}: sys.modules.pop(name)\n"
    statements = blocked + "\n".join(f"import {name}" for name in names) + cleanup
    assert _loaded_by(statements) & _TORCH == set()


@pytest.mark.parametrize("name", ["EmbsnapError", "__version__"])
def test_names_of_the_public_face_that_need_nothing(name):
    assert _loaded_by(f"from embsnap import {name}") & _HEAVY == set()


def test_the_public_face_has_all_it_promises():
    import embsnap

    assert {name: getattr(embsnap, name) is not None for name in embsnap.__all__} == dict.fromkeys(
        embsnap.__all__, True
    )
    assert set(embsnap.__all__) <= set(dir(embsnap))


def test_what_the_public_face_lacks():
    import embsnap

    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        embsnap.nothing  # noqa: B018
