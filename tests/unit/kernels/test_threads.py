"""Running tasks on threads."""

from __future__ import annotations

import threading
import time

import pytest

from embsnap.kernels.threads import run, split


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_results_come_in_the_order_of_the_tasks(threads):
    def late(number):
        time.sleep(0.002 * (7 - number))
        return number

    assert run([lambda number=number: late(number) for number in range(7)], threads) == list(range(7))


def test_no_tasks_give_no_results():
    assert run([], 4) == []


def test_tasks_run_side_by_side():
    meeting = threading.Barrier(2, timeout=20)
    assert sorted(run([meeting.wait, meeting.wait], 2)) == [0, 1]


@pytest.mark.parametrize("threads", [1, 3])
def test_the_first_error_is_raised_when_nothing_runs_any_more(threads):
    ended, begun = [], []

    def slow(number):
        begun.append(number)
        time.sleep(0.05)
        ended.append(number)

    def fail():
        raise OSError("disk")

    with pytest.raises(OSError, match="disk"):
        run([lambda: slow(0), fail, *(lambda n=n: slow(n) for n in range(1, 30))], threads)
    assert sorted(begun) == sorted(ended)
    assert len(begun) < 30


def test_errors_that_are_no_exceptions_are_raised_too():
    def stop():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run([stop, lambda: None], 2)


def test_no_thread_outlives_the_call():
    before = threading.active_count()
    run([lambda: None] * 8, 4)
    assert threading.active_count() == before


@pytest.mark.parametrize(("total", "num_ranges"), [(0, 3), (1, 4), (10, 3), (10, 10), (7, 1), (5, 0)])
def test_split_covers_everything_once_in_order(total, num_ranges):
    ranges = split(total, num_ranges)
    assert [i for start, end in ranges for i in range(start, end)] == list(range(total))
    assert all(end > start for start, end in ranges)
    assert len(ranges) <= max(1, num_ranges)
    assert not ranges or max(e - s for s, e in ranges) - min(e - s for s, e in ranges) <= 1
