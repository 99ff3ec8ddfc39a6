"""Many small jobs on all cores: a pool of local processes, or the same jobs on Ray.

Jobs are (function, arguments) of a module's top level; results come as they are done.
"""

from __future__ import annotations

import multiprocessing
import multiprocessing.process
import signal
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import resource_tracker
from typing import Any

from runtime.errors import ConfigError, RuntimeFault

ENGINES = ("local", "ray")
LOOK_S = 1.0  # without a result for so long: is everybody still there?
JOBS_PER_PROCESS = 40  # then a fresh process: what a simulator leaks ends with it


@dataclass(frozen=True)
class Pool:
    """Where jobs run: `jobs` local processes, or a Ray cluster (the address Ray finds)."""

    jobs: int = 2
    engine: str = "local"

    def run(self, function: Callable[..., Any], work: Sequence[tuple[Any, ...]]) -> Iterator[Any]:
        """Results of `function(*arguments)` in order of completion; a failed job raises here."""
        if not work:
            return iter(())
        return self._ray(function, work) if self.engine == "ray" else self._local(function, work)

    def _local(
        self, function: Callable[..., Any], work: Sequence[tuple[Any, ...]]
    ) -> Iterator[Any]:
        context = multiprocessing.get_context("spawn")
        with _deaf_to_ctrl_c():
            workers_of = context.Pool(min(self.jobs, len(work)), maxtasksperchild=JOBS_PER_PROCESS)
        with workers_of as pool:
            results = pool.imap_unordered(_call, [(function, w) for w in work])
            workers: dict[int | None, multiprocessing.process.BaseProcess] = {}
            while True:
                workers |= {p.pid: p for p in multiprocessing.active_children()}
                try:
                    yield results.next(timeout=LOOK_S)
                except StopIteration:
                    return
                except multiprocessing.TimeoutError:
                    _check_alive(workers.values())

    def _ray(self, function: Callable[..., Any], work: Sequence[tuple[Any, ...]]) -> Iterator[Any]:
        try:
            import ray
        except ImportError as error:
            raise ConfigError(
                f"--engine ray needs Ray ({error}); pip install '.[scale]', or use --engine local"
            ) from error
        if not ray.is_initialized():
            ray.init(num_cpus=self.jobs, include_dashboard=False, log_to_driver=False)
        remote = ray.remote(num_cpus=1)(_call)
        waiting = [remote.remote((function, w)) for w in work]
        while waiting:
            done, waiting = ray.wait(waiting)
            yield from ray.get(done)


@contextmanager
def _deaf_to_ctrl_c() -> Iterator[None]:
    """Around the start of workers, which inherit it, as the thread does that starts later ones.

    A terminal sends Ctrl-C to all of them; this process alone answers it, and ends them. An
    initializer that ignored it would come seconds after a worker's start.
    """
    resource_tracker.ensure_running()  # its own start would lift the mask
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _check_alive(workers: Iterable[multiprocessing.process.BaseProcess]) -> None:
    """A pool starts another worker for one that died, but waits for its job's result for ever."""
    for worker in workers:
        if worker.exitcode not in (None, 0):
            raise RuntimeFault(
                f"a worker process ended with exit code {worker.exitcode} in the middle of its work "
                "(-9: killed, as when memory runs out; 1: it could not start); give fewer --jobs, or "
                "close other programs, and run the same command again: it goes on from what it kept"
            )


def _call(job: tuple[Callable[..., Any], tuple[Any, ...]]) -> Any:
    function, arguments = job
    return function(*arguments)
