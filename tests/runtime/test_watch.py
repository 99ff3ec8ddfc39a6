"""The watch as the mind's part: batches in, one event out, and a file that the next start reads."""

from pathlib import Path

import numpy as np
import pytest
from msgspec.structs import replace

from calibration.camera import PinholeCamera
from calibration.drift import Drift, read_drift
from calibration.watch_blocks import Base
from calibration.watch_monitor import Watched
from runtime.channels import EVENT, channel_table
from runtime.event_log import EventLog
from runtime.events import Event
from runtime.lockstep import START_NS, Clockwork, LockstepChannels
from runtime.watch import Watch, WatchConfig

WATCHED = Watched(Base(0.075, 0.075, 0.26), PinholeCamera(64, 64, 46.0, 46.0, 31.5, 31.5), 2, 3)
NOON_12_NOV_NS = 1_794_484_800_000_000_000  # 2026-11-12T12:00:00Z


class Bench:
    """A robot at rest whose gyro's bias the test sets."""

    def __init__(self, folder: Path | None) -> None:
        self.clockwork = Clockwork()
        self.channels = LockstepChannels(channel_table(8, (4, 4, 3)), self.clockwork, {})
        self.events = EventLog(self.channels.writer("event.mind", "mind"))
        self._told = self.channels.reader("event.mind")
        offset = None if folder is None else NOON_12_NOV_NS - START_NS
        config = WatchConfig(WATCHED, {"mcu": "b1", "camera": "c1"}, folder, offset)
        self.watch = Watch(self.channels, config, self.events)
        self._rng = np.random.default_rng(0)
        self.now_ns = START_NS

    def rest(self, seconds: float, bias_rad_s: float) -> list[np.ndarray]:
        batch = np.zeros((), self.channels.table["sensors"].dtype)
        for k in range(round(seconds * 100)):
            self.now_ns += 10_000_000
            batch["t_ns"] = self.now_ns
            batch["gyro_rad_s"] = self._rng.normal([0, 0, bias_rad_s], 0.004, (5, 3))
            batch["accel_m_s2"] = self._rng.normal([0, 0, 9.81], 0.06, (5, 3))
            self.watch.sense(batch)
            if k % 10 == 9:
                self.watch.step(self.now_ns)
                self.clockwork.run(self.now_ns)
        return self._told.drain()


def test_a_flag_is_kept_for_the_next_start_with_its_day(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    assert not bench.rest(10, 0.005)
    (event,) = bench.rest(20, 0.025)
    said = "gyro bias about z moved +1.1 deg/s since 12 Nov: run `companion calibrate imu-static record`"
    assert event["code"] == Event.CALIBRATION_DRIFT and event["text"].item().decode() == said
    (kept,) = read_drift(tmp_path, "b1").flags
    assert kept.said == said and kept.since.startswith("2026-11-12T12:00:1") and kept.serial == "b1"
    again = Bench(tmp_path)
    (event,) = again.rest(1, 0.025)
    assert event["active"] and event["text"].item().decode() == said, "told from the first round on"
    gauge = again.watch.monitor.gauges["gyro_bias_z"]
    assert gauge.reference == pytest.approx(0.005, abs=1e-3), "held against what was learnt before"
    again.rest(30, 0.005)
    assert read_drift(tmp_path, "b1").flags == (kept,), "only a calibration settles it"


@pytest.mark.parametrize("runs", [1, 2])
def test_a_drift_that_grows_becomes_gross_and_stands_since_it_began(
    tmp_path: Path, runs: int
) -> None:
    bench = Bench(tmp_path)
    bench.rest(10, 0.0)
    bench.rest(20, 0.02)
    (small,) = read_drift(tmp_path, "b1").flags
    assert not small.gross
    bench = bench if runs == 1 else Bench(tmp_path)
    told = bench.rest(30, 0.06)
    (grown,) = read_drift(tmp_path, "b1").flags
    assert grown.gross and grown.since == small.since and "since 12 Nov" in grown.said
    assert told[-1]["active"] and told[-1]["text"].item().decode() == grown.said


def test_a_device_that_replaced_a_drifted_one_is_held_to_its_own(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.rest(10, 0.0)
    bench.rest(20, 0.02)
    again = Bench(tmp_path)
    (old,) = again.watch._before.flags
    again.watch._before = Drift(flags=(replace(old, serial="b0", amount=0.5),))
    again.rest(30, 0.02)
    assert [f.serial for f in again.watch._standing()] == ["b1", "b0"]


def test_what_comes_back_within_a_run_is_cleared(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.rest(10, 0.0)
    raised = bench.rest(20, 0.02)
    cleared = bench.rest(20, 0.0)
    assert [int(e["active"]) for e in (*raised, *cleared)] == [1, 0]
    assert read_drift(tmp_path, "b1").flags == ()


def test_a_folder_that_cannot_be_written_is_a_note(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    events = Bench(tmp_path / "file").rest(10, 0.0)
    assert {int(e["code"]) for e in events} == {Event.WATCH_UNKEPT}


def test_without_a_folder_nothing_is_kept_and_times_are_the_runs() -> None:
    bench = Bench(None)
    bench.rest(10, 0.0)
    (event,) = bench.rest(20, 0.02)
    assert b"s into the run" in event["text"].item() and event.dtype == EVENT
