"""What is said of parquet files that cannot be read."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pyarrow as pa

from embsnap.errors import EmbsnapError, ErrorKind, SnapshotError

__all__ = ["bad_parquet", "parquet_errors_at"]


@contextmanager
def parquet_errors_at(uri: str) -> Iterator[None]:
    """Turn whatever pyarrow raises over a damaged file into an error that names it."""
    try:
        yield
    except EmbsnapError:
        raise
    except MemoryError as error:
        raise bad_parquet(uri, "asks for more memory than there is") from error
    except (pa.ArrowException, OSError, ValueError, OverflowError, KeyError, IndexError, RuntimeError) as error:
        raise bad_parquet(uri, " ".join(str(error).split())[:300]) from error


def bad_parquet(uri: str, found: str) -> SnapshotError:
    """A file that is none, or damaged."""
    return SnapshotError(
        ErrorKind.BAD_PARQUET,
        "is no parquet file that can be read",
        where=uri,
        expected="a whole parquet file",
        found=found,
        hint="write the file again, or leave it out of the directory",
    )
