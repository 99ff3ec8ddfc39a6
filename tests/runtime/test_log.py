"""The black box: what is written is read back, also from a file that was cut anywhere."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("foxglove", reason="foxglove-sdk is not installed")

from runtime.channels import Channels
from runtime.errors import RuntimeFault
from runtime.log import McapSink, MemorySink, Recorder, read_log
from tools.companion import main
from tools.processes import record
from tools.run_log import parts, read_parts

S = 1_000_000_000


class Full:
    """A sink whose disk is full."""

    def write(self, row, record) -> None: ...

    def flush(self) -> None:
        raise RuntimeFault("no room is left")

    close = flush


def test_a_full_disk_is_told_once_and_ends_the_recording_alone(channels: Channels) -> None:
    told: list[tuple[str, str]] = []
    parent: Any = SimpleNamespace(hear=lambda kind, text: told.append((kind, text)))
    kept = MemorySink()
    recorder = Recorder(channels, [Full(), kept])
    for k in range(12):
        record(recorder.step, recorder, parent, S + k)
    record(recorder.close, recorder, parent, 2 * S)
    assert told == [("recording", "the run goes on without recording: no room is left")]


def fill(channels: Channels, path: Path, steps: int = 20, first: int = 0) -> Recorder:
    """Some seconds of records of several channels, through the recorder."""
    rng = np.random.default_rng(7)
    rows = [row for row in channels.table.values() if row.log_every]
    recorder = Recorder(channels, [McapSink(path, rows, {"body": "companion"}), MemorySink()])
    tick = channels.writer("tick", "controller")
    frame = channels.writer("frame", "perception")
    event = channels.writer("event.mind", "mind")
    for k in range(first, first + steps):
        for i in range(10):
            tick.record["number"] = 10 * k + i
            tick.record["tick_wall_us"] = rng.uniform(0, 1000)
            tick.publish(S + (10 * k + i) * 10_000_000)
        frame.record["pixels"] = rng.integers(0, 256, frame.record["pixels"].shape)
        frame.record["brightness"] = np.nan if k == 3 else 0.5
        frame.publish(S + k * 100_000_000)
        event.record["text"] = f"step {k}: naïve ü".encode()
        event.publish(S + k * 100_000_000)
        recorder.step(S + k * 100_000_000)
    return recorder


@pytest.fixture
def log(channels, tmp_path) -> Path:
    fill(channels, tmp_path / "run.mcap").close(5 * S)
    return tmp_path / "run.mcap"


def test_round_trip(channels, tmp_path) -> None:
    recorder = fill(channels, tmp_path / "run.mcap")
    recorder.close(5 * S)
    assert recorder.missed == 0
    written = recorder._sinks[1].arrays()
    found = read_log(tmp_path / "run.mcap", channels.table)
    assert set(found) == set(written) == {"tick", "frame", "event.mind"}
    for name, rows in written.items():
        for field in rows.dtype.names:
            if field == "pad":
                continue
            np.testing.assert_array_equal(found[name][field], rows[field], f"{name}.{field}")


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.999])
def test_a_cut_log_is_readable_up_to_the_cut(channels, log, share: float) -> None:
    whole = read_log(log, channels.table)["tick"]
    data = log.read_bytes()
    log.write_bytes(data[: int(len(data) * share)])
    cut = read_log(log, channels.table).get("tick", whole[:0])
    assert len(cut) <= len(whole) and np.array_equal(cut, whole[: len(cut)])
    if share >= 0.9:
        assert len(cut) > len(whole) / 2


def test_a_log_cut_or_damaged_anywhere_never_fails(channels, log) -> None:
    data = log.read_bytes()
    whole = read_log(log, channels.table)["tick"]
    rng = np.random.default_rng(1)
    for at in rng.integers(20, len(data), 60):
        damaged = bytearray(data)
        damaged[at] ^= 0x40
        for content in (data[:at], bytes(damaged)):
            log.write_bytes(content)
            cut = read_log(log, {"tick": channels.table["tick"]}).get("tick", whole[:0])
            assert np.array_equal(cut["number"], whole["number"][: len(cut)])


def test_a_killed_writer_loses_less_than_half_a_second(channels, tmp_path) -> None:
    recorder = fill(channels, tmp_path / "run.mcap", steps=20)  # not closed: as if killed
    found = read_log(tmp_path / "run.mcap", channels.table)["tick"]
    assert int(found["number"][-1]) >= 10 * (20 - Recorder.FLUSH_EVERY) - 1
    recorder.close(5 * S)


def test_recover_and_info(channels, log, capsys) -> None:
    data = log.read_bytes()
    log.write_bytes(data[: int(len(data) * 0.9)])
    kept = len(read_log(log, channels.table)["tick"])
    assert main(["log", "recover", str(log)]) == 0
    out = log.with_suffix(".recovered.mcap")
    assert str(out) in capsys.readouterr().out
    assert len(read_log(out, channels.table)["tick"]) == kept
    assert main(["log", "info", str(out), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["channels"]["tick"]["count"] == kept
    assert main(["log", "info", str(log)]) == 0
    assert "tick" in capsys.readouterr().out
    assert main(["log", "recover", str(log)]) == 2, "it overwrites nothing"


@pytest.mark.parametrize("verb", ["info", "recover"])
@pytest.mark.parametrize("content", [None, b"", b"junk that is no log", b"\x89MCAP0\r\n"])
def test_what_is_no_log(tmp_path, capsys, verb: str, content: bytes | None) -> None:
    path = tmp_path / "x.mcap"
    if content is not None:
        path.write_bytes(content)
    code = main(["log", verb, str(path)])
    said = capsys.readouterr()
    assert code in (1, 2) and said.err.startswith("companion: ") and str(path) in said.err
    assert len(said.err.strip().splitlines()) == 1
    assert sorted(p.name for p in tmp_path.iterdir()) == (["x.mcap"] if content is not None else [])


def test_parts_of_a_restarted_recorder_join_without_doubles(channels, tmp_path) -> None:
    first = fill(channels, tmp_path / "run.mcap", steps=5)
    second = fill(
        channels, tmp_path / "run.part2.mcap", steps=5, first=5
    )  # drains the old ones too
    first.close(5 * S)
    second.close(5 * S)
    assert len(parts(tmp_path / "run.mcap")) == 2
    number = read_parts(tmp_path / "run.mcap", channels.table)["tick"]["number"]
    assert number.tolist() == list(range(100))
