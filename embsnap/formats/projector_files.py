"""The files of TensorBoard's Embedding Projector: points, their labels, and the configuration that names both.

    projector_config.pbtxt   text form of the message ProjectorConfig
    user.tsv, user.bytes     points: lines of numbers between tabs; or float32, little-endian, one after another
    user_metadata.tsv        labels: a header, then a line for each point

TensorBoard takes a tensor file for text unless it is no UTF-8.

Shape suffixes: N points, D dimensions.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["CONFIG_NAME", "config_text", "file_stem", "labels_text", "points_bytes", "points_text"]

CONFIG_NAME = "projector_config.pbtxt"
"""The name that TensorBoard looks for."""

_UNSAFE = re.compile(r"[^A-Za-z0-9._-]")
_ESCAPES = {ord("\\"): "\\\\", ord("\t"): "\\t", ord("\n"): "\\n", ord("\r"): "\\r"}


def file_stem(name: str, taken: Iterable[str]) -> str:
    """A file name for a table, without a suffix, that is none of those taken."""
    stem = _UNSAFE.sub("_", name).lstrip(".")[:80] or "table"
    unique, number = stem, 1
    while unique in taken:
        number += 1
        unique = f"{stem}-{number}"
    return unique


def points_text(points_ND: NDArray[np.float32]) -> bytes:
    """Points as text, with the digits that tell any two float32 numbers apart."""
    sink = io.StringIO()
    for point in points_ND:
        sink.write("\t".join(f"{value:.9g}" for value in point.tolist()) + "\n")
    return sink.getvalue().encode()


def points_bytes(points_ND: NDArray[Any]) -> bytes:
    """Points as float32."""
    return np.ascontiguousarray(points_ND, np.dtype("<f4")).tobytes()


def labels_text(header: Sequence[str], rows: Iterable[Sequence[object]]) -> bytes:
    """Labels, with tabs and line breaks in them written as escapes. One column stands without its header."""
    lines = [list(header), *([str(value).translate(_ESCAPES) for value in row] for row in rows)]
    if len(header) == 1:
        del lines[0]
    return "".join("\t".join(line) + "\n" for line in lines).encode("utf-8", "backslashreplace")


def config_text(embeddings: Iterable[tuple[str, tuple[int, int], str, str]]) -> bytes:
    """The configuration.

    Args:
        embeddings: Name, `(N, D)`, tensor file and metadata file of each.
    """
    blocks = []
    for name, shape, tensor_file, metadata_file in embeddings:
        lines = [f"tensor_name: {_quoted(name)}", *(f"tensor_shape: {size}" for size in shape)]
        lines += [f"tensor_path: {_quoted(tensor_file)}", f"metadata_path: {_quoted(metadata_file)}"]
        blocks.append("embeddings {\n" + "".join(f"  {line}\n" for line in lines) + "}\n")
    return "".join(blocks).encode()


def _quoted(text: str) -> str:
    """As protocol buffers' text form has it: printable ASCII, other bytes in octal."""
    data = text.encode("utf-8", "surrogatepass")
    return '"' + "".join(chr(b) if 32 <= b < 127 and b not in b'"\\' else f"\\{b:03o}" for b in data) + '"'
