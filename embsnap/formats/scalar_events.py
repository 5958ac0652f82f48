"""Scalars of a training as events of TensorBoard, which is an optional package."""

from __future__ import annotations

import time
from collections.abc import Mapping
from importlib import import_module

from embsnap.formats.stats_trackers import require_tensorboard

__all__ = ["ScalarWriter"]


class ScalarWriter:
    """One event file in a log directory, which grows step by step."""

    def __init__(self, directory: str) -> None:
        """Begin the file.

        Raises:
            UsageError: `missing-package`.
        """
        require_tensorboard()
        self._events = import_module("tensorboard.compat.proto.event_pb2")
        self._summaries = import_module("tensorboard.compat.proto.summary_pb2")
        self._writer = import_module("tensorboard.summary.writer.event_file_writer").EventFileWriter(directory)

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Add the scalars of a step, by tag."""
        scalars = [self._summaries.Summary.Value(tag=tag, simple_value=value) for tag, value in values.items()]
        summary = self._summaries.Summary(value=scalars)
        self._writer.add_event(self._events.Event(wall_time=time.time(), step=step, summary=summary))
        self._writer.flush()

    def close(self) -> None:
        """Finish the file."""
        self._writer.close()
