"""The latency tool on the twin, whose delays are known, and on recordings that must not pass."""

import json
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("mujoco")

from calibration.errors import DataError
from calibration.verdict import RANK
from runtime.body import load_body
from tools import companion
from tools.calibrate.latency import solve_chain
from tools.calibrate.latency_eye import TwinEye
from tools.calibrate.latency_log import LatencyLog, read_latency, write_latency
from tools.calibrate.latency_record import turn
from tools.calibrate.latency_truth import slope_delay
from tools.calibrate.rig import TwinRig

BODY = load_body("companion")
NAMES = ["command_to_encoder", "encoder_to_gyro", "gyro_to_image"]


def recorded(seed: int, seconds: float = 20.0, jitter_s: float = 0.0) -> LatencyLog:
    rig = TwinRig(BODY, seed)
    rig.connect()
    return turn(rig, TwinEye(rig, jitter_s), seconds)


@pytest.fixture(scope="module")
def log() -> LatencyLog:
    return recorded(2)


def worst(findings) -> str:
    return max((f.level for f in findings), key=RANK.__getitem__, default="PASS")


def causes(findings) -> str:
    return "; ".join(f.cause for f in findings)


def errors(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Error and std of each delay [ms]."""
    log = recorded(seed)
    chain, findings = solve_chain(log)
    assert worst(findings) == "PASS", causes(findings)
    assert list(chain.delays) == NAMES
    found = np.array([[d.delay_s, d.std_s] for d in chain.delays.values()]) * 1e3
    return found[:, 0] - log.truth_ms, found[:, 1]


@pytest.mark.parametrize("seeds", [range(3), pytest.param(range(20), marks=pytest.mark.heavy)])
def test_the_twins_delays_are_found_within_2_ms_and_their_intervals(seeds) -> None:
    off, std = (np.array(v) for v in zip(*map(errors, seeds), strict=True))
    assert np.abs(off).max() < 2.0
    assert (np.abs(off) < 1.96 * std).mean(0).min() >= 0.85
    assert std.max() < 1.0  # an interval that holds everything tells nothing


def test_what_the_specimens_differ_by_is_what_is_found() -> None:
    """The truth itself is checked by what was drawn: motor driver's lag and camera's stamps."""
    one, other = TwinRig(BODY, 0), TwinRig(BODY, 3)
    lag_ms = 2.0 * (one.made.command_lag_steps - other.made.command_lag_steps)
    late_ms = (other.made.camera_offset_s - one.made.camera_offset_s) * 1e3
    assert lag_ms and late_ms
    chains = [solve_chain(recorded(seed))[0].delays for seed in (0, 3)]
    apart_ms = {n: 1e3 * (chains[0][n].delay_s - chains[1][n].delay_s) for n in NAMES}
    assert apart_ms["command_to_encoder"] == pytest.approx(lag_ms, abs=0.5)
    assert apart_ms["encoder_to_gyro"] == pytest.approx(0, abs=0.5)
    assert apart_ms["gyro_to_image"] == pytest.approx(late_ms, abs=0.8)


def test_the_truths_own_estimator_by_hand() -> None:
    t = np.arange(0, 10, 0.002)
    assert slope_delay(t, np.sin(5 * t), 0.9 * np.sin(5 * (t - 0.031)) + 0.1) == pytest.approx(0.031, abs=1e-4)  # fmt: skip


def test_stamps_that_are_arrivals_are_named() -> None:
    chain, findings = solve_chain(recorded(1, jitter_s=0.006))
    assert chain.stamps is not None and chain.stamps.jitter_s > 0.004
    assert worst(findings) != "PASS" and "camera stamps are arrival times: they jitter" in causes(findings)  # fmt: skip


def test_steady_stamps_of_the_read_are_named_too(log: LatencyLog) -> None:
    late = log.frame_ns + 20_000_000
    chain, findings = solve_chain(replace(log, frame_ns=late, frame_arrival_ns=late))
    assert chain.delays["gyro_to_image"].delay_s * 1e3 == pytest.approx(log.truth_ms[2] + 20, abs=1)
    assert worst(findings) == "MARGINAL" and "stamped when it is read" in causes(findings)


def test_a_robot_that_does_not_turn(log: LatencyLog) -> None:
    rng = np.random.default_rng(0)
    still = replace(
        log,
        gyro_rad_s=rng.normal(0.01, 0.004, log.gyro_rad_s.shape),
        wheel_rad=np.zeros_like(log.wheel_rad),
    )
    chain, findings = solve_chain(still)
    assert not chain.delays and worst(findings) == "FAIL"
    assert "hardly anything turned" in causes(findings)


def test_too_short_and_too_few_frames_are_one_sentence(log: LatencyLog) -> None:
    with pytest.raises(DataError, match="8 needed; record 20 s"):
        solve_chain(recorded(0, seconds=5.0))
    few = replace(log, frames=log.frames[:40], frame_ns=log.frame_ns[:40], frame_arrival_ns=log.frame_arrival_ns[:40])  # fmt: skip
    with pytest.raises(DataError, match="40 frames recorded, 60 needed"):
        solve_chain(few)
    dark = replace(log, frames=np.full_like(log.frames, 7))
    with pytest.raises(DataError, match="have corners that can be followed"):
        solve_chain(dark)


def shaken(log: LatencyLog) -> LatencyLog:
    t = log.imu_ns[:, None] / 1e9
    return replace(log, gyro_rad_s=log.gyro_rad_s + 0.4 * np.sin(2 * np.pi * 47 * t))


def outliers(log: LatencyLog) -> LatencyLog:
    rng = np.random.default_rng(3)
    frames = log.frames.copy()
    for k in rng.choice(len(frames), len(frames) // 5, replace=False):
        frames[k] = rng.integers(0, 255, frames[k].shape)
    return replace(log, frames=frames)


BAD = {
    "vibration": (shaken, "it shakes"),
    "swapped wheels": (lambda log: replace(log, wheel_rad=log.wheel_rad[:, ::-1]), "turns against"),
    "degrees": (lambda log: replace(log, gyro_rad_s=np.rad2deg(log.gyro_rad_s)), "is in deg/s"),
    "swapped axes": (lambda log: replace(log, gyro_rad_s=log.gyro_rad_s[:, ::-1]), ""),
    "mirrored": (lambda log: replace(log, frames=log.frames[:, :, ::-1]), "mirrored"),
    "a clock that runs apart": (
        lambda log: replace(log, frame_ns=log.frame_ns + ((log.frame_ns - log.frame_ns[0]) * 2e-3).astype(np.int64)),
        "halves differ",
    ),
    "another recording's frames": (lambda log: replace(log, frames=log.frames[::-1]), ""),
    "a clock of another epoch": (lambda log: replace(log, frame_ns=log.frame_ns + 10**18), ""),
    "a fifth of the frames are noise": (outliers, ""),
}  # fmt: skip


@pytest.mark.parametrize("kind", BAD)
def test_bad_input_never_passes_wrong(log: LatencyLog, kind: str) -> None:
    spoil, says = BAD[kind]
    try:
        chain, findings = solve_chain(spoil(log))
    except DataError as error:
        assert not says, error
        return
    assert says in causes(findings)
    found = np.array([d.delay_s for d in chain.delays.values()]) * 1e3
    wrong = len(found) != 3 or np.abs(found - log.truth_ms).max() > 2
    if wrong or says:
        assert worst(findings) != "PASS", found - log.truth_ms


def test_the_tool_from_record_to_install(tmp_path, capsys) -> None:
    npz, out, page = tmp_path / "l.npz", tmp_path / "l.json", tmp_path / "l.html"
    assert companion.main(["calibrate", "latency", "record", "--out", str(npz), "--seed", "4"]) == 0
    solve = ["calibrate", "latency", "solve", "--log", str(npz)]
    code = companion.main([*solve, "--out", str(out), "--report", str(page)])
    assert code == 0, capsys.readouterr().out
    verdict = json.loads(out.read_text())
    assert verdict["device"] == "twin-4"
    assert max(map(abs, verdict["quality"]["truth_error_ms"].values())) < 2
    assert verdict["result"]["time_offset_s"] == pytest.approx(-verdict["result"]["gyro_to_image_ms"] / 1e3)  # fmt: skip
    assert page.read_text().count("<svg") == 6
    folder = str(tmp_path / "c")
    install = ["calibrate", "latency", "install", str(out), "--folder", folder]
    assert companion.main(install) == 0
    report = ["calibrate", "latency", "report", str(out), "--report", str(page), "--folder", folder]
    assert companion.main(report) == 0
    assert "command_to_encoder_ms" in page.read_text()


def test_a_cut_or_foreign_file_is_one_sentence(tmp_path, log: LatencyLog, capsys) -> None:
    whole = tmp_path / "l.npz"
    write_latency(whole, log)
    assert read_latency(whole).serial == log.serial
    cut, text = tmp_path / "cut.npz", tmp_path / "t.npz"
    cut.write_bytes(whole.read_bytes()[:5000])
    text.write_text("a,b\n1,2\n")
    np.savez(tmp_path / "other.npz", x=1)
    write_latency(tmp_path / "back.npz", replace(log, imu_ns=log.imu_ns[::-1]))
    for name in ("cut", "t", "other", "back", "none"):
        assert companion.main(["calibrate", "latency", "solve", "--log", str(tmp_path / f"{name}.npz")]) == 1  # fmt: skip
        err = capsys.readouterr().err
        assert err.count("\n") == 1 and "Traceback" not in err
    assert companion.main(["calibrate", "latency", "record", "--out", "/nowhere/l.npz"]) == 2
    assert companion.main(["calibrate", "latency", "record", "--out", str(cut), "--seconds", "0"]) == 2  # fmt: skip


def test_a_released_key_writes_nothing(tmp_path, monkeypatch) -> None:
    class Released(TwinRig):
        def __init__(self, *args) -> None:
            super().__init__(*args)
            self.released_at_ns = self.now_ns + 6_000_000_000

    monkeypatch.setattr("tools.calibrate.rigs.TwinRig", Released)
    out = tmp_path / "l.npz"
    assert companion.main(["calibrate", "latency", "record", "--out", str(out)]) == 1
    assert not out.exists()
