"""Values that cannot be in a vocabulary, gathered over all its files and told in one error."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from embsnap.errors import ErrorKind, IncompatibleError

__all__ = ["Defects"]

_SHOWN = 5


class Defects:
    """Counts and examples of defects by what is wrong, from any thread."""

    def __init__(self) -> None:
        """Begin with none."""
        self._counts: dict[str, int] = {}
        self._places: dict[str, list[tuple[int, int, str]]] = {}
        self._lock = threading.Lock()

    def add(self, problem: str, file: int, first_row: int, indices: Sequence[int], values: Sequence[object]) -> None:
        """Note that `indices`, counted from `first_row` of file number `file`, have `problem`, with their values."""
        shown = [(file, first_row + int(i), str(v)) for i, v in zip(indices[:_SHOWN], values[:_SHOWN], strict=True)]
        with self._lock:
            self._counts[problem] = self._counts.get(problem, 0) + len(indices)
            self._places[problem] = sorted(self._places.get(problem, []) + shown)[:_SHOWN]

    def __bool__(self) -> bool:
        """Whether there are any."""
        return bool(self._counts)

    def check(self, uri: str, files: Sequence[str]) -> None:
        """Do nothing if there are none.

        Args:
            uri: The vocabulary's.
            files: URI of each file, by number.

        Raises:
            IncompatibleError: `bad-vocabulary`: with the number of each and where the first are.
        """
        if not self._counts:
            return
        problems = ", ".join(f"{problem} ({count:,})" for problem, count in sorted(self._counts.items()))
        places = [place for problem in sorted(self._counts) for place in self._places[problem]]
        found = ", ".join(f"{value} in row {row} of {files[file]}" for file, row, value in places)
        raise IncompatibleError(
            ErrorKind.BAD_VOCABULARY,
            f"the vocabulary has values that cannot be: {problems}",
            where=uri,
            expected="an id and a row of 0 or more for each entity",
            found=found,
            hint="drop those entities, or mend whatever wrote the vocabulary",
        )
