"""Did this machine stand still? A run in real time that it stalled tells nothing of the code.

A robot whose computers stop for half a second stops, and stays stopped: that is right, and a virtual
machine whose cores are lent to others for so long is no fault of what is tested in it.
"""

from __future__ import annotations

import functools
import os
import threading
import time
from collections.abc import Callable
from typing import Any

TRIES = 3
STOOD_S = 0.1  # the gate forgives less of a gap between two commands
LOOK_S = 0.005


class Standstill:
    """The longest time, of any core, in which a thread that wanted to run every 5 ms did not."""

    def __init__(self) -> None:
        self.longest_s = 0.0
        self._over = threading.Event()
        cores = os.sched_getaffinity(0)
        self._watches = [
            threading.Thread(target=self._watch, args=(c,), daemon=True) for c in cores
        ]

    def __enter__(self) -> Standstill:
        for watch in self._watches:
            watch.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for watch in self._watches:
            watch.join()

    def _watch(self, core: int) -> None:
        os.sched_setaffinity(threading.get_native_id(), {core})
        last = time.monotonic()
        while not self._over.wait(LOOK_S):
            now = time.monotonic()
            self.longest_s = max(self.longest_s, now - last - LOOK_S)
            last = now


def undisturbed(test: Callable[..., None]) -> Callable[..., None]:
    """A test of real time, made again, twice at most, where it failed as the machine stood still."""

    @functools.wraps(test)
    def run(*args: Any, **kwargs: Any) -> None:
        for left in reversed(range(TRIES)):
            with Standstill() as machine:
                try:
                    return test(*args, **kwargs)
                except Exception as error:
                    stood_s = machine.longest_s
                    if left == 0 or stood_s < STOOD_S:
                        told = f"{error}\n(the machine stood still for {stood_s:.3f} s at most)"
                        raise AssertionError(told) from error
            print(f"{test.__name__}: the machine stood still for {stood_s:.2f} s; again")
        return None

    return run
