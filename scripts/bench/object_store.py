"""Reading a table out of an object store on loopback, against other clients at equal concurrency.

    python scripts/bench/object_store.py [--mb 1000] [--throttled-mb 500] [--rounds 5] [--clients embsnap,gcsfs]

First at full speed from fake-gcs-server, then through nginx with 64 MB/s for each connection. Goals: at least 0.75 x
(better 0.95 x) the best of gcsfs' cat_ranges, pyarrow's GcsFileSystem and obstore, 1.1 x cat_ranges, 3 x
torchsnapshot's plugin, 6 x a single stream where connections are throttled; and `embsnap inspect` of a snapshot there
at most 0.7 s slower than of the same one on disk. Both sides share the cores of one machine: only ratios mean anything.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from measure import Run, interleave, machine, median, run_process
from object_store_clients import CLIENTS

from embsnap.formats.torchsnapshot.writer import ArrayToWrite, write_snapshot
from embsnap.model.dtypes import DTYPES
from embsnap.storage.uri import open_store

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from tests.servers.gcs import Bucket, gcs_server, temporary_bucket  # noqa: E402
from tests.servers.process import serving  # noqa: E402

SCRIPT = Path(__file__).with_name("object_store_clients.py")
DIM = 64
RIVALS = ("gcsfs", "pyarrow", "obstore")


class RandomRows:
    """A table of random rows, made block by block."""

    dtype = np.dtype(np.float32)

    def __init__(self, num_rows: int, dim: int) -> None:
        self.num_rows, self.dim = num_rows, dim

    def read(self, start: int, end: int, out_ND: np.ndarray) -> None:
        """Random rows."""
        np.random.default_rng(start).standard_normal(out_ND.shape, np.float32, out_ND)


@contextmanager
def throttling(server: str, directory: Path) -> Iterator[str]:
    """nginx before the server, which lets 64 MB/s through each connection."""

    def command(port: int) -> Sequence[str]:
        (directory / "nginx.conf").write_text(
            f"daemon off; master_process off; pid {directory}/nginx.pid; error_log stderr; worker_processes 1;\n"
            "events { worker_connections 256; }\n"
            f"http {{ access_log off; client_body_temp_path {directory}/body; proxy_temp_path {directory}/proxy;\n"
            f"fastcgi_temp_path {directory}/f; uwsgi_temp_path {directory}/u; scgi_temp_path {directory}/s;\n"
            f"server {{ listen 127.0.0.1:{port}; location / {{ proxy_pass {server}; proxy_http_version 1.1;\n"
            f"proxy_set_header Host {server.partition('://')[2]}; proxy_set_header Connection '';\n"
            "proxy_max_temp_file_size 0; proxy_buffers 64 64k; proxy_buffer_size 64k; limit_rate 64000000; } } }\n"
        )
        return ["nginx", "-p", str(directory), "-c", str(directory / "nginx.conf")]

    with serving(command, health="/_internal/healthcheck", log=directory / "nginx.log") as url:
        yield url


def prepare(bucket: Bucket, directory: Path, num_mb: int) -> list[str]:
    """Write a table of that size into a directory and the bucket; returns its objects, as the clients take them."""
    num_rows = num_mb * 1_000_000 // (4 * DIM)
    path, rows = "model/ebc.embedding_bags.user.weight", RandomRows(num_rows, DIM)
    array = ArrayToWrite(path, DTYPES["float32"], (num_rows, DIM), rows)
    store = open_store(str(directory))
    write_snapshot(store, [array], plan_digest="0" * 64)
    bucket.upload(directory, directory.name)
    found = [info for info in store.list("embsnap/") if info.size > 1_000_000]
    return [f"{directory.name}/{info.location}:{info.size}" for info in found]


def stream(bucket: Bucket, url: str, snapshot: str, objects: list[str], clients: Sequence[str], rounds: int) -> dict:
    """Median seconds, CPU seconds and megabytes of each client."""
    results: dict[str, list[dict[str, float]]] = {name: [] for name in clients}
    for number in range(rounds + 1):
        for name in clients:
            argv = [sys.executable, "-W", "ignore", str(SCRIPT), name, url, bucket.name, snapshot, *objects]
            done = subprocess.run(argv, capture_output=True, text=True)
            if done.returncode:
                print(f"  {name} failed: {done.stderr.strip().splitlines()[-1]}", file=sys.stderr)
                continue
            result = json.loads(done.stdout)
            print(f"  round {number} {name}: {result['seconds']:.2f} s", file=sys.stderr)
            if number:
                results[name].append(result)
    return {
        name: {key: statistics.median(run[key] for run in runs) for key in runs[0]}
        for name, runs in results.items()
        if runs
    }


def show(title: str, medians: dict[str, dict[str, float]], num_mb: int) -> None:
    """One line for each client, with how much faster embsnap is."""
    print(title)
    base = medians["embsnap"]["seconds"]
    for name, found in medians.items():
        rate, cpu = num_mb / found["seconds"], found["cpu_s"] / num_mb * 1000
        ratio = found["seconds"] / base
        print(f"  {name:14} {rate:6.0f} MB/s  {cpu:5.2f} CPU s/GB  {found['mb']:6.0f} MB   embsnap is {ratio:.2f} x")


def inspecting(bucket: Bucket, directory: Path, rounds: int) -> float:
    """Seconds that `inspect gs://` takes longer than the same on disk, as whole processes."""
    os.environ["STORAGE_EMULATOR_HOST"] = bucket.server

    def inspect(uri: str) -> Run:
        return run_process([sys.executable, "-m", "embsnap", "inspect", uri])

    sides = {"gs": lambda _: inspect(bucket.uri(directory.name)), "disk": lambda _: inspect(str(directory))}
    runs = interleave(sides, rounds)
    print(f"embsnap inspect: gs:// {median(runs['gs']):.2f} s, disk {median(runs['disk']):.2f} s")
    return median(runs["gs"]) - median(runs["disk"])


def main() -> int:
    """Print the tables; 1 if a goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mb", type=int, default=1000)
    parser.add_argument("--throttled-mb", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--clients", default=",".join(name for name in CLIENTS if name != "stream"))
    args = parser.parse_args()
    clients = args.clients.split(",")
    print(machine())
    with (
        tempfile.TemporaryDirectory(prefix="embsnap-bench-") as name,
        gcs_server(Path(name) / "server.log") as server,
        temporary_bucket(server) as bucket,
    ):
        directory = Path(name)
        objects = prepare(bucket, directory / "full", args.mb)
        full = stream(bucket, server, "full", objects, clients, args.rounds)
        show(f"a table of {args.mb} MB into memory, medians of {args.rounds} rounds", full, args.mb)
        small = prepare(bucket, directory / "throttled", args.throttled_mb)
        with throttling(server, directory) as slow:
            throttled = stream(bucket, slow, "throttled", small, [*clients, "stream"], args.rounds)
        show(f"{args.throttled_mb} MB at 64 MB/s for each connection", throttled, args.throttled_mb)
        extra_s = inspecting(bucket, directory / "full", args.rounds)
    return _judge(full, throttled, extra_s)


def _judge(full: dict[str, dict[str, float]], throttled: dict[str, dict[str, float]], extra_s: float) -> int:
    ours = full["embsnap"]["seconds"]
    rivals = {name: full[name]["seconds"] / ours for name in RIVALS if name in full}
    goals = [
        ("the best of the others", min(rivals.values(), default=9.0), 0.75),
        ("gcsfs cat_ranges", rivals.get("gcsfs", 9.0), 1.1),
        ("torchsnapshot's plugin", full["torchsnapshot"]["seconds"] / ours if "torchsnapshot" in full else 9.0, 3.0),
        ("a single throttled stream", throttled["stream"]["seconds"] / throttled["embsnap"]["seconds"], 6.0),
    ]
    for name, ratio, goal in goals:
        print(f"{ratio:5.2f} x {name} (goal {goal:g})")
    print(f"inspect gs:// {extra_s:+.2f} s (goal + 0.7 s)")
    return int(any(ratio < goal for _, ratio, goal in goals) or extra_s > 0.7)


if __name__ == "__main__":
    sys.exit(main())
