"""How much memory a run may use, and how it is shared out."""

from __future__ import annotations

import os
from dataclasses import dataclass

from embsnap.errors import ErrorKind, UsageError

__all__ = ["Budget", "available_memory"]

MAX_BLOCK_BYTES = 1 << 20
"""A block that stays in a core's cache is gathered, summed and written two to three times as fast as one of 8 MiB."""
MAX_FILL_BLOCK_BYTES = 16 << 20
MIN_BLOCK_BYTES = 64 << 10
_BUFFERS_PER_THREAD = 4
"""A block being read, its cast, the rows drawn for it, and one on its way out."""
_CGROUP_FILES = (
    ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
    ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"),
)


def available_memory() -> int:
    """Bytes that can be had now without swapping: the machine's, or what the control group leaves if that is less."""
    limits = [_machine_memory(), *(left for files in _CGROUP_FILES if (left := _cgroup_memory(*files)) is not None)]
    return max(min(limits), 1)


def _machine_memory() -> int:
    try:
        with open("/proc/meminfo", encoding="ascii") as file:
            for line in file:
                if line.startswith("MemAvailable:"):
                    return int(line.split()[1]) * 1024
    except OSError:  # not Linux
        pass
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _cgroup_memory(limit_path: str, usage_path: str) -> int | None:
    try:
        with open(limit_path, encoding="ascii") as limit, open(usage_path, encoding="ascii") as usage:
            return int(limit.read()) - int(usage.read())
    except (OSError, ValueError):  # no such control group, or no limit ("max")
        return None


@dataclass(frozen=True, slots=True)
class Budget:
    """The row data in memory at once."""

    block_bytes: int
    """Of one block of rows."""
    fill_block_bytes: int
    """Of one block that is read straight into where it is to stay: larger, since it passes through no cache twice."""
    row_bytes: int
    """Of all blocks in flight."""

    @classmethod
    def of(cls, memory_budget: int, threads: int) -> Budget:
        """Share out `memory_budget` bytes: a few blocks for each thread, of at most 1 MiB (16 MiB to fill).

        Raises:
            UsageError: The budget does not hold one small block per thread.
        """
        share = memory_budget // (threads * _BUFFERS_PER_THREAD)
        block = min(MAX_BLOCK_BYTES, share)
        if block < MIN_BLOCK_BYTES:
            raise UsageError(
                ErrorKind.BAD_OPTION,
                "is too small",
                where="--memory-budget",
                expected=f"at least {threads * _BUFFERS_PER_THREAD * MIN_BLOCK_BYTES} bytes at --threads {threads}",
                found=memory_budget,
            )
        fill_block = min(MAX_FILL_BLOCK_BYTES, share)
        return cls(block, fill_block, fill_block * threads * _BUFFERS_PER_THREAD)
