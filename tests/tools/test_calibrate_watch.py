"""`companion calibrate watch` over recorded runs: a real log, an earlier one before it, and bad input."""

import json

import numpy as np
import pytest

pytest.importorskip("mujoco")

from runtime.body import load_body
from runtime.channels import channel_table
from runtime.log import McapSink
from tools import companion
from tools.calibrate.rig import Rig, TwinRig

BODY = load_body("companion")
TABLE = channel_table(8, (4, 4, 3))


def rested(rig: Rig, sink: McapSink, seconds: float) -> None:
    """It stands, turns a little, and stands elsewhere: what a log's sensors channel holds."""
    with rig.armed():
        for k in range(round(seconds * 100)):
            moves = k % 800 < 400
            rig.drive(*((3.0, 3.0) if k // 800 % 2 else (-3.0, -3.0)) if moves else (0.0, 0.0))
            rig.advance()
            record = np.zeros((), TABLE["sensors"].dtype)
            record[...] = rig.link.sensors[0]
            sink.write(TABLE["sensors"], record)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A healthy run's log, and one whose gyro's bias jumps half way."""
    out = {}
    for name, bias in (("well", 0.0), ("biased", 0.03)):
        folder = tmp_path_factory.mktemp(name)
        sink = McapSink(folder / "a.mcap", [TABLE["sensors"]], {})
        rig = TwinRig(BODY, 6)
        rig.connect()
        rested(rig, sink, 60.0)
        rig.twin.sensors.bias_gyro(bias)
        rested(rig, sink, 30.0)
        sink.close()
        out[name] = folder
    return out


def watch(capsys, *argv) -> tuple[int, dict]:
    code = companion.main(["calibrate", "watch", "--json", *map(str, argv)])
    return code, json.loads(capsys.readouterr().out)


def causes(verdict: dict) -> str:
    return "; ".join(f["cause"] for f in verdict["findings"])


def test_a_drift_within_a_run_is_told_with_its_time(capsys, tmp_path, runs) -> None:
    page = tmp_path / "w.html"
    code, verdict = watch(capsys, "--log", runs["biased"], "--report", page, "--out", tmp_path / "w.json")  # fmt: skip
    assert code == 3 and verdict["verdict"] == "MARGINAL"
    assert verdict["cause"].startswith("gyro bias about z moved +1.")
    assert verdict["next"] == "run `companion calibrate imu-static record`"
    moved = verdict["result"]["gyro_bias_z"]
    assert moved["flagged_since_s"] == pytest.approx(62, abs=8)
    assert moved["moved"] == pytest.approx(0.03, rel=0.1)
    assert "flagged_since_s" not in verdict["result"]["gyro_bias_x"]
    assert "MOVED" in page.read_text() and page.read_text().count("<svg") >= 4


def test_a_run_that_is_well_says_what_it_did_not_see(capsys, runs) -> None:
    code, verdict = watch(capsys, "--log", runs["well"] / "a.mcap")
    assert code == 3, "no frames, no turns"
    assert "moved" not in causes(verdict)
    assert "too little seen of the camera" in causes(verdict)
    assert "too little seen of the IMU" not in causes(verdict)


def test_an_earlier_run_is_the_reference(capsys, runs) -> None:
    _, verdict = watch(capsys, "--log", runs["biased"], "--against", runs["well"])
    assert "gyro bias about z moved" in causes(verdict)
    _, verdict = watch(capsys, "--log", runs["well"], "--against", runs["well"])
    assert "moved" not in causes(verdict)


def test_bad_input_is_one_sentence(capsys, tmp_path, runs) -> None:
    (tmp_path / "text.mcap").write_text("no log")
    empty = tmp_path / "empty"
    empty.mkdir()
    cut = tmp_path / "cut.mcap"
    cut.write_bytes((runs["well"] / "a.mcap").read_bytes()[:2000])
    for path in (tmp_path / "none.mcap", tmp_path / "text.mcap", empty, cut):
        assert companion.main(["calibrate", "watch", "--log", str(path)]) == 2
        err = capsys.readouterr().err
        assert err.count("\n") == 1 and "Traceback" not in err
