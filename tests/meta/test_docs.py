"""The documents keep their promises."""

from __future__ import annotations

import re

import pytest

_LINK = re.compile(r"\[[^\]]*\]\(([^)#\s]+)(?:#[^)]*)?\)")


def _pages(root):
    return [*root.glob("*.md"), *(root / "docs").rglob("*.md")]


def test_every_link_within_the_checkout_leads_somewhere(root):
    broken = [
        f"{page.relative_to(root)}: {target}"
        for page in _pages(root)
        for target in _LINK.findall(page.read_text(encoding="utf-8"))
        if "://" not in target and not (page.parent / target).exists()
    ]
    assert broken == []


def test_every_command_in_the_documents_exists(root, entries):
    """Lines of code blocks that begin with `embsnap` or `$ embsnap`."""
    texts = [page.read_text(encoding="utf-8") for page in _pages(root)]
    blocks = [block for text in texts for block in re.findall(r"^```.*?^```", text, re.MULTILINE | re.DOTALL)]
    pattern = r"^(?:\$ )?embsnap (vocab [a-z-]+|[a-z-]+)"
    called = {name for block in blocks for name in re.findall(pattern, block, re.MULTILINE)}
    assert called <= set(entries)
    assert called


@pytest.mark.parametrize("name", ["setup", "test", "demo", "docs", "with-gcs"])
def test_the_scripts_can_be_run(root, name):
    path = root / "scripts" / name
    assert path.stat().st_mode & 0o111
    assert path.read_text(encoding="utf-8").startswith("#!/usr/bin/env ")


def test_continuous_integration_runs_the_test_script(root):
    path = root / ".ci" / "run"
    assert path.stat().st_mode & 0o111
    assert "scripts/test" in path.read_text(encoding="utf-8")


def test_the_code_map_has_every_package(root):
    text = (root / "CONTRIBUTING.md").read_text(encoding="utf-8")
    packages = {path.parent.name for path in (root / "embsnap").glob("*/__init__.py")}
    assert {name for name in packages if f"| `{name}` |" not in text} == set()
