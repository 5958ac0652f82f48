"""Exports and imports a table in little more memory than the process takes once it is warm.

Arguments: a directory, a format, the bytes that it may take. Run by `test_streaming.py` in a process of its own.
"""

from __future__ import annotations

import resource
import sys
from pathlib import Path

from embsnap.model.exchange import ExchangeFormat
from embsnap.ops.export.options import ExportOptions
from embsnap.ops.export.plan import plan_export
from embsnap.ops.export.writing import write_export
from embsnap.ops.importing.options import ImportOptions
from embsnap.ops.importing.plan import plan_import
from embsnap.ops.importing.writing import write_import


def there_and_back(root: str, table: str, target: ExchangeFormat) -> None:
    """Export a table by position, and import it."""
    options = ExportOptions(format=target, by_position=True, memory_budget=4 << 20)
    out = f"{root}/{table}{target.suffix}"
    write_export(plan_export(f"{root}/{table}", out, options))
    write_import(plan_import({"user": out}, f"{root}/{table}-{target}-back", ImportOptions(threads=1)))


def main() -> None:
    root, target = sys.argv[1], ExchangeFormat(sys.argv[2])
    there_and_back(root, "small", target)
    fields = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    limit = (int(fields["VmData"].split()[0]) << 10) + int(sys.argv[3])
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    there_and_back(root, "large", target)


if __name__ == "__main__":
    main()
