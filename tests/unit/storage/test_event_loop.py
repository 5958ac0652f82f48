"""What blocks is called in threads, which are used again, and ends before those who cancel it go on."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

from embsnap.storage.event_loop import in_thread, run


def test_results_and_errors_come_back() -> None:
    assert run(in_thread(lambda: 7)) == 7

    def fail() -> None:
        raise FileNotFoundError("gone")

    with pytest.raises(FileNotFoundError, match="gone"):
        run(in_thread(fail))


def test_an_idle_thread_is_used_again() -> None:
    def of_three() -> set[int]:
        return {run(in_thread(threading.get_ident)) for _ in range(3) if not time.sleep(0.05)}

    assert any(len(of_three()) == 1 for _ in range(20))  # a busy machine may be slow to let it be idle


def test_several_at_a_time() -> None:
    barrier = threading.Barrier(3)

    async def all_of_them() -> list[int]:
        return await asyncio.gather(*(in_thread(lambda: barrier.wait(20)) for _ in range(3)))

    assert sorted(run(all_of_them())) == [0, 1, 2]


@pytest.mark.parametrize("ends", [True, False])
def test_what_is_cancelled_has_ended_where_it_can(ends: bool) -> None:
    """Where it can not, nobody waits for it."""
    began, stopped, ended = threading.Event(), threading.Event(), threading.Event()

    def work() -> None:
        began.set()
        stopped.wait(20)
        time.sleep(0.2)
        ended.set()

    def stop() -> bool:
        stopped.set()
        return ends

    async def cancelled() -> None:
        task = asyncio.ensure_future(in_thread(work, stop))
        while not began.is_set():
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert ended.is_set() == ends

    run(cancelled())
    assert ended.wait(20)
