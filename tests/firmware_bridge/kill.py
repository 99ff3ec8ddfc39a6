"""Runs the core's own tests against every mutant, until one of them fails.

    python tests/firmware_bridge/kill.py FOLDER [FILE...]     one JSON line per mutant

Several may hunt side by side in folders next to each other: each takes the next line that none has
taken. The tests are collected once, by pytest; each mutant then gets a child of this process, which loads
the mutant's library and runs those tests first that killed its neighbours.
"""

from __future__ import annotations

import faulthandler
import json
import os
import resource
import signal
import sys
import time
from pathlib import Path

import pytest
from _pytest.runner import runtestprotocol
from mutants import MUTATED, Mutant, Workshop, mutants

HERE = Path(__file__).parent
GATE = [HERE.parent / "runtime" / name for name in ("test_gate_states.py", "test_gate.py")]
CORE = [*sorted(HERE.glob("test_core_*.py")), HERE / "test_core.py"]
TEST_LIMIT_S = 5.0  # of a processor's time: a mutant that hangs is caught too
REMEMBERED = 40
# where to look first, by the function a mutant stands in
NEAR = {
    "contact": "contact resisted along CONTACT_US SHOVE_US SHOVE_PERMILLE",
    "joints": "watch_wheel watch_joints held absolute START_US OPPOSING_US STALLED_US OVERCURRENT_US",
    "stops": "watch_inputs core_latch core_watch harder",
    "healthy": "core_healthy HEALTHY_US",
    "imu": "rounded add_imu_sample core_sample",
    "silence": "watch_host heartbeat_age_us host_silent sensor_age_us BROWN_OUT_TICKS HEARTBEAT_LOST_US SENSORS_STALE_US SENSORS_LOST_US IMU_GAP_US",
    "ring": "show",
    "reports": "core_flags core_run tick TELEMETRY_LATE_US",
    "frames": "count_gap core_receive core_handle find acknowledge on_sync on_heartbeat",
    "modes": "on_arm on_clear on_hello forget_motion",
    "update": "may_arm QUIET_US",
    "leaving": "core_leave core_start_pose BRAKE_US drive core_park",
    "motion": "may_move on_motion core_sync_valid TTL_MIN_MS FUTURE_US",
    "params": "known core_param_set core_param_send core_params_reset on_param_get on_param_set on_reboot",
    "bench": "within wheel_target core_current_ma BENCH_CURRENT_PERMILLE BENCH_SPEED_PERMILLE",
}
MODULE = {function: module for module, functions in NEAR.items() for function in functions.split()}


class Hunt:
    """Takes pytest's place when its collected tests would run."""

    def __init__(self, folder: Path, files: list[str]) -> None:
        self.workshop = Workshop(folder)
        self.claims = folder.parent / "claims"
        self.claims.mkdir(exist_ok=True)
        every = int(os.environ.get("MUTANTS_EVERY", "1"))
        self.prey = [m for file in files for m in mutants(file)][::every]
        self.mine: dict[str, bool] = {}
        self.killers: list[str] = []

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        items = {item.nodeid: item for item in session.items}
        original = self.workshop.library(None, "original")
        survived, _ = self.chase(session, original, list(items.values()))
        print(
            json.dumps({"name": "original", "result": "agrees" if survived is None else survived}),
            flush=True,
        )
        for mutant in filter(self.is_mine, self.prey):
            self.report(session, mutant, items)
        return True

    def is_mine(self, mutant: Mutant) -> bool:
        """The first to ask for a line gets it whole: its mutants die alike."""
        line = f"{mutant.file}-{mutant.line}"
        if line not in self.mine:
            try:
                (self.claims / line).mkdir()
                self.mine[line] = True
            except FileExistsError:
                self.mine[line] = False
        return self.mine[line]

    def report(
        self, session: pytest.Session, mutant: Mutant, items: dict[str, pytest.Item]
    ) -> None:
        started = time.monotonic()
        library = self.workshop.library(mutant, "mutant")
        killer, result = None, "does not compile"
        if library:
            killer, result = self.chase(session, library, self.order(mutant, items))
        if result == "survived" and self.workshop.is_the_same_program(mutant):
            result = "same program"
        if killer in items:
            self.killers = [killer, *(k for k in self.killers if k != killer)][:REMEMBERED]
        line = {"name": mutant.name, "key": mutant.key, "result": result, "killer": killer}
        line["seconds"] = round(time.monotonic() - started, 2)
        print(json.dumps(line), flush=True)

    def order(self, mutant: Mutant, items: dict[str, pytest.Item]) -> list[pytest.Item]:
        """Killers of the mutants before it, then the tests of its own concern, then all."""
        if mutant.file == "limits.c":  # the independent gate alone must find these
            items = {k: i for k, i in items.items() if "test_gate" in k}
        else:
            items = {k: i for k, i in items.items() if "test_gate" not in k}
        near = f"test_core_{MODULE.get(mutant.function)}.py"
        first = [items[k] for k in self.killers if k in items]
        close = [i for k, i in items.items() if near in k and k not in self.killers]
        rest = [i for k, i in items.items() if near not in k and k not in self.killers]
        return [*first, *close, *rest]

    def chase(
        self, session: pytest.Session, library: Path, items: list[pytest.Item]
    ) -> tuple[str | None, str]:
        """(test that failed, what became of the mutant)."""
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(reading)
            self.live(library, items, writing)
        os.close(writing)
        with os.fdopen(reading) as pipe:
            killer = pipe.read()
        _, status = os.waitpid(child, 0)
        if os.WIFSIGNALED(status):
            return None, f"killed: {signal.Signals(os.WTERMSIG(status)).name}"
        return (killer, "killed") if killer else (None, "survived")

    def live(self, library: Path, items: list[pytest.Item], writing: int) -> None:
        """In the child: until the first failure."""
        os.environ["COMPANION_LIBRARY"] = str(library)
        faulthandler.disable()
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        signal.signal(signal.SIGPROF, signal.SIG_DFL)
        nothing = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nothing, 1)
        os.dup2(nothing, 2)
        for i, item in enumerate(items):
            following = items[i + 1] if i + 1 < len(items) else None
            signal.setitimer(signal.ITIMER_PROF, TEST_LIMIT_S)
            reports = runtestprotocol(item, nextitem=following, log=False)
            if any(r.failed for r in reports):
                os.write(writing, item.nodeid.encode())
                os._exit(1)
        os._exit(0)


def main() -> int:
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    hunt = Hunt(folder, sys.argv[2:] or list(MUTATED))
    options = ["-p", "no:xdist", "-p", "no:cacheprovider", "--import-mode=importlib", "-q", "-s"]
    options += ["-o", "addopts=", "-m", "not heavy", "-W", "error", "--no-header", "--no-summary"]
    return int(pytest.main([*options, *map(str, GATE + CORE)], plugins=[hunt]))


if __name__ == "__main__":
    sys.exit(main())
