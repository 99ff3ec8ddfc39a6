"""The pool: results as they come, and a worker that dies is told, not waited for."""

import os
import signal
import subprocess
import sys
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


def test_ctrl_c_of_a_terminal_ends_all_at_once_and_workers_say_nothing() -> None:
    code = (
        "import signal, time\nfrom tools.train.pool import Pool\n"
        "if __name__ == '__main__':\n"
        "    signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # a background shell's are deaf
        "    jobs = [(0,), *[(60,)] * 3]\n"
        "    try:\n        for _ in Pool(2).run(time.sleep, jobs): print('one', flush=True)\n"
        "    except KeyboardInterrupt: print('stopped', flush=True)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None and process.stdout.readline() == "one\n"
        began = time.monotonic()
        os.killpg(process.pid, signal.SIGINT)
        out, err = process.communicate(timeout=30)
    assert (out, err) == ("stopped\n", "") and time.monotonic() - began < 10
