"""A server as a child process on a free loopback port."""

from __future__ import annotations

import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

__all__ = ["serving"]


_ATTEMPTS = 5
"""A port that was free may be another server's a moment later."""


@contextmanager
def serving(
    command: Callable[[int], Sequence[str]], *, health: str, log: Path, patience_s: float = 120
) -> Iterator[str]:
    """Run a server for the length of the block.

    Args:
        command: Gives the command line for a port.
        health: Path that answers below 500 as soon as the server is up.
        log: File for what the server prints.
        patience_s: How long the start may take, on a busy machine.

    Yields:
        Its base URL, such as `http://127.0.0.1:40123`.
    """
    with log.open("wb") as output:
        for _ in range(_ATTEMPTS):
            port = _free_port()
            url = f"http://127.0.0.1:{port}"
            process = subprocess.Popen(command(port), stdout=output, stderr=subprocess.STDOUT)
            try:
                if _is_up(process, url + health, patience_s):
                    yield url
                    return
            finally:
                process.kill()
                process.wait()
    raise RuntimeError(f"{process.args!r} does not start:\n{log.read_text(errors='replace')}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _is_up(process: subprocess.Popen[bytes], url: str, patience_s: float) -> bool:
    """Wait until the server answers; False if it ended or is silent."""
    deadline = time.monotonic() + patience_s
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=5):
                return process.poll() is None
        except urllib.error.HTTPError as error:
            error.close()
            if error.code < 500:
                return process.poll() is None
        except OSError:
            time.sleep(0.05)
    return False
