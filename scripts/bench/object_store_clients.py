"""One client of an object store, in a process of its own: reads objects into memory and prints what that took.

    python scripts/bench/object_store_clients.py CLIENT URL BUCKET SNAPSHOT OBJECT:BYTES...

Every client reads the same objects of the bucket, in ranges of 8 MiB, eight in flight, but where it knows no ranges.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

RANGE_BYTES = 8 << 20
IN_FLIGHT = 8


@dataclass(frozen=True)
class Job:
    """What to read."""

    url: str
    bucket: str
    snapshot: str
    """Name of the snapshot's root in the bucket."""
    objects: tuple[tuple[str, int], ...]
    """Names in the bucket, and sizes."""

    def ranges(self) -> list[tuple[str, int, int]]:
        """Object, start and end of each request."""
        return [
            (name, start, min(start + RANGE_BYTES, size))
            for name, size in self.objects
            for start in range(0, size, RANGE_BYTES)
        ]

    def in_threads(self, read: Callable[[str, int, int], object]) -> None:
        """Read all ranges on as many threads as requests are to be in flight; what is read stays until all is."""
        with ThreadPoolExecutor(IN_FLIGHT) as pool:
            kept = list(pool.map(lambda part: read(*part), self.ranges()))
        assert len(kept) == len(self.ranges())


def embsnap(job: Job) -> Callable[[], None]:
    """The table of the snapshot into an array."""
    import numpy as np

    from embsnap.formats.torchsnapshot.snapshot import open_snapshot

    snapshot = open_snapshot(f"gs://{job.bucket}/{job.snapshot}")
    reader = snapshot.reader(snapshot.tables()[0].weight)

    def run() -> None:
        rows_VD = np.empty((reader.num_rows, reader.dim), reader.dtype)
        reader.read(0, reader.num_rows, rows_VD)

    return run


def gcsfs(job: Job) -> Callable[[], None]:
    """`cat_ranges`, in groups of eight."""
    import gcsfs

    fs = gcsfs.GCSFileSystem(token="anon", endpoint_url=job.url)
    names, starts, ends = zip(*((f"{job.bucket}/{name}", start, end) for name, start, end in job.ranges()), strict=True)
    return lambda: fs.cat_ranges(list(names), list(starts), list(ends), batch_size=IN_FLIGHT, on_error="raise") and None


def pyarrow(job: Job) -> Callable[[], None]:
    """`read_at` of open files."""
    from pyarrow.fs import GcsFileSystem

    scheme, _, endpoint = job.url.partition("://")
    fs = GcsFileSystem(anonymous=True, scheme=scheme, endpoint_override=endpoint)
    files = {name: fs.open_input_file(f"{job.bucket}/{name}") for name, _ in job.objects}
    return lambda: job.in_threads(lambda name, start, end: files[name].read_at(end - start, start))


def obstore(job: Job) -> Callable[[], None]:
    """`get_range`."""
    import obstore
    from obstore.store import GCSStore

    key = {"gcs_base_url": job.url, "disable_oauth": True, "client_email": "", "private_key": "", "private_key_id": ""}
    store = GCSStore(job.bucket, service_account_key=json.dumps(key), client_options={"allow_http": True})
    return lambda: job.in_threads(lambda name, start, end: obstore.get_range(store, name, start=start, end=end))


def torchsnapshot(job: Job) -> Callable[[], None]:
    """Its plugin, whose address and credentials are written into its code: both are replaced here."""
    import torchsnapshot.storage_plugins.gcs as plugin
    from torchsnapshot.io_types import ReadIO

    template = plugin.GCSStoragePlugin.DOWNLOAD_URL_TEMPLATE
    plugin.GCSStoragePlugin.DOWNLOAD_URL_TEMPLATE = template.replace("https://www.googleapis.com", job.url)
    plugin.default = lambda scopes: (plugin.google.auth.credentials.AnonymousCredentials(), None)

    async def read_all() -> None:
        store = plugin.GCSStoragePlugin(f"{job.bucket}/")
        reads = [ReadIO(path=name) for name, _ in job.objects]
        await asyncio.gather(*(store.read(read) for read in reads))
        assert all(read.buf.getbuffer().nbytes == size for read, (_, size) in zip(reads, job.objects, strict=True))

    return lambda: asyncio.run(read_all())


def stream(job: Job) -> Callable[[], None]:
    """One connection, object after object."""
    import http.client
    from urllib.parse import quote, urlsplit

    def run() -> None:
        connection = http.client.HTTPConnection(urlsplit(job.url).netloc)
        for name, size in job.objects:
            connection.request("GET", f"/storage/v1/b/{job.bucket}/o/{quote(name, safe='')}?alt=media")
            reply, buffer = connection.getresponse(), memoryview(bytearray(size))
            done = 0
            while done < size:
                done += reply.readinto(buffer[done : done + RANGE_BYTES])
            reply.read()

    return run


CLIENTS: dict[str, Callable[[Job], Callable[[], None]]] = {
    client.__name__: client for client in (embsnap, gcsfs, pyarrow, obstore, torchsnapshot, stream)
}


def main() -> None:
    """Prepare, read once to warm up, and measure the second reading alone; memory is the first one's."""
    name, url, bucket, snapshot, *objects = sys.argv[1:]
    sizes = [text.rpartition(":") for text in objects]
    job = Job(url, bucket, snapshot, tuple((location, int(size)) for location, _, size in sizes))
    os.environ |= {"STORAGE_EMULATOR_HOST": url, "GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT": "false"}
    run = CLIENTS[name](job)
    before_mb = _peak_mb()
    run()
    peak_mb, cpu, began = _peak_mb() - before_mb, time.process_time(), time.perf_counter()
    run()
    seconds = time.perf_counter() - began
    print(json.dumps({"seconds": seconds, "cpu_s": time.process_time() - cpu, "mb": peak_mb}))


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000


if __name__ == "__main__":
    main()
    sys.stdout.flush()
    os._exit(0)  # some clients take long to say goodbye
