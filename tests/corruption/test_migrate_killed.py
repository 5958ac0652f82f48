"""Migrations that are killed while they write go on, and end as undisturbed ones: a few of those of `scripts/crash`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "scripts" / "crash"


def test_killed_and_resumed(tmp_path: Path) -> None:
    command = [sys.executable, str(SCRIPT), "--kills", "8", "--seed", "5", "--dir", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    numbers = {line[:25].strip(): int(line[25:].split()[0]) for line in done.stdout.splitlines()}
    assert numbers["killed while writing"] >= 8
    assert numbers["objects taken over"] > 0
    assert numbers["problems"] == 0
    assert list(tmp_path.iterdir()) == []
