import pytest

from calibration.camera import LensCamera, PinholeCamera
from calibration.errors import RecordError
from calibration.store import CameraRecord, CameraResult, read_record, record_path, write_record

LENS = LensCamera(PinholeCamera(128, 96, 62.5, 61.5, 63.0, 48.0), (-0.12, 0.02, 0.001, -0.001, 0.0))


def record(serial="cam-1"):
    return CameraRecord(
        serial=serial,
        date="2025-01-01T00:00:00Z",
        tool="test",
        tool_version="0",
        verdict="PASS",
        result=CameraResult.of(LENS),
        residuals={"rms_px": 0.1},
    )


def test_a_record_comes_back_as_written(tmp_path):
    write_record(tmp_path, record())
    assert read_record(tmp_path, "cam-1") == record()
    assert read_record(tmp_path, "cam-1").result.lens() == LENS
    assert [p.name for p in tmp_path.iterdir()] == ["cam-1.camera.json"]


def test_another_device_is_refused(tmp_path):
    write_record(tmp_path, record())
    with pytest.raises(RecordError, match="no calibration of camera cam-2.*cam-1"):
        read_record(tmp_path, "cam-2")
    path = record_path(tmp_path, "cam-1", "camera")
    path.rename(record_path(tmp_path, "cam-2", "camera"))
    with pytest.raises(RecordError, match="is of camera cam-1"):
        read_record(tmp_path, "cam-2")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"schema": 1', '"schema": 9', "schema 9"),
        ('"fx": 62.5', '"fx": "wide"', "fx"),
        ('"tool":', '"tooool":', "tooool"),
        ("{", "", "calibration"),
    ],
)
def test_a_damaged_record_is_refused(tmp_path, old, new, message):
    path = write_record(tmp_path, record())
    path.write_text(path.read_text().replace(old, new, 1))
    with pytest.raises(RecordError, match=message):
        read_record(tmp_path, "cam-1")


@pytest.mark.parametrize("serial", ["", "../x", "a/b", ".hidden"])
def test_a_serial_is_no_path(tmp_path, serial):
    with pytest.raises(RecordError, match="serial"):
        read_record(tmp_path, serial)
