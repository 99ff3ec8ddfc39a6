"""The pool: results as they come, and a worker that dies is told, not waited for."""

import os
import time

import pytest

from runtime.errors import RuntimeFault
from tools.train.pool import Pool


def test_results_come_as_they_are_done() -> None:
    assert sorted(Pool(2).run(abs, [(-1,), (2,), (-3,)])) == [1, 2, 3]
    assert list(Pool(2).run(abs, [])) == []


def test_a_failed_job_raises_here() -> None:
    with pytest.raises(ZeroDivisionError):
        list(Pool(2).run(divmod, [(1, 0)]))


def test_a_worker_that_died_is_told_with_what_it_died_of() -> None:
    began = time.monotonic()
    with pytest.raises(RuntimeFault, match="exit code 3"):
        list(Pool(2).run(os._exit, [(3,)]))
    assert time.monotonic() - began < 60
