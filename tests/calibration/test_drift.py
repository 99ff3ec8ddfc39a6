"""The watch's file: whole or none, read after a power cut, settled by a newer calibration."""

import pytest

from calibration.drift import Drift, Kept, Standing, drift_path, read_drift, standing, write_drift
from calibration.store import Record, install

FLAG = Standing(name="wheel_ratio", amount=0.008, since="2026-11-12T10:00:00Z", serial="b1", said="wheel ratio moved")  # fmt: skip
KEPT = Kept(reference=0.01, date="2026-11-10T10:00:00Z", serial="b1")
DRIFT = Drift(gauges={"wheel_ratio": KEPT, "gravity": KEPT}, flags=(FLAG,))


def calibrate(folder, date: str, kind: str = "wheels", serial: str = "b1") -> None:
    install(folder, Record(kind=kind, serial=serial, date=date, tool_version="1", verdict="PASS", cause="", next="", result={}, quality={}))  # fmt: skip


def test_it_is_read_as_it_was_written(tmp_path) -> None:
    write_drift(tmp_path, "b1", DRIFT)
    assert read_drift(tmp_path, "b1") == DRIFT
    assert standing(tmp_path) == [FLAG]
    assert FLAG.tool == "wheels" and not FLAG.gross


def test_a_newer_calibration_settles_it_and_what_was_learnt_before(tmp_path) -> None:
    write_drift(tmp_path, "b1", DRIFT)
    calibrate(tmp_path, "2026-11-01T00:00:00Z")
    calibrate(tmp_path, "2026-11-20T00:00:00Z", serial="another")
    assert read_drift(tmp_path, "b1") == DRIFT
    calibrate(tmp_path, "2026-11-20T00:00:00Z", kind="motor")
    assert standing(tmp_path) == [FLAG], "older, another board's, another tool's"
    calibrate(tmp_path, "2026-11-13T00:00:00Z")
    assert standing(tmp_path) == []
    assert read_drift(tmp_path, "b1") == Drift(), "what it was learnt with is no longer in force"


@pytest.mark.parametrize("content", [b"", b"\0" * 300, b'{"schema": 9}', b"[]", b'{"flags": [{"x": 1}]}'])  # fmt: skip
def test_a_damaged_file_counts_as_none(tmp_path, content: bytes) -> None:
    drift_path(tmp_path, "b1").write_bytes(content)
    assert read_drift(tmp_path, "b1") == Drift() and standing(tmp_path) == []
    write_drift(tmp_path, "b1", DRIFT)
    assert standing(tmp_path) == [FLAG]
