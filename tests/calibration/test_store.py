import pytest

from calibration.camera import FisheyeCamera, LensCamera, PinholeCamera
from calibration.errors import RecordError
from calibration.store import (
    HISTORY,
    Record,
    camera_result,
    history,
    install,
    lens_of,
    read_record,
    record_path,
    rollback,
    write_record,
)

LENS = LensCamera(PinholeCamera(128, 96, 62.5, 61.5, 63.0, 48.0), (-0.12, 0.02, 0.001, -0.001, 0.0))


def record(serial="cam-1", date="2025-01-01T00:00:00Z"):
    return Record(
        kind="camera",
        serial=serial,
        date=date,
        tool_version="0",
        verdict="PASS",
        cause="test",
        next="nothing",
        result=camera_result(LENS),
        quality={"rms_px": 0.1},
    )


def test_a_record_comes_back_as_written(tmp_path):
    write_record(tmp_path, record())
    assert read_record(tmp_path, "cam-1") == record()
    assert lens_of(read_record(tmp_path, "cam-1")) == LENS
    assert [p.name for p in tmp_path.iterdir()] == ["cam-1.camera.json"]


def test_another_device_is_refused(tmp_path):
    write_record(tmp_path, record())
    with pytest.raises(RecordError, match="no camera calibration of cam-2.*cam-1"):
        read_record(tmp_path, "cam-2")
    path = record_path(tmp_path, "cam-1", "camera")
    path.rename(record_path(tmp_path, "cam-2", "camera"))
    with pytest.raises(RecordError, match="is of cam-1"):
        read_record(tmp_path, "cam-2")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"schema": 2', '"schema": 9', "schema 9"),
        ('"verdict": "PASS"', '"verdict": "GOOD"', "GOOD"),
        ('"cause":', '"causes":', "causes"),
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


def test_a_lens_that_makes_no_sense_is_refused(tmp_path):
    for key, value in (
        ("distortion", [0.0] * 4),
        ("camera_matrix", [[1.0]]),
        ("image_size", "wide"),
    ):
        bad = record()
        bad.result[key] = value
        with pytest.raises(RecordError, match="calibrate the camera again"):
            lens_of(bad)


def test_a_fisheye_record_gives_a_fisheye_lens():
    r = record()
    r.result.update(model="fisheye", distortion=[0.1, 0.0, 0.0, 0.0])
    assert lens_of(r) == FisheyeCamera(LENS.pinhole, (0.1, 0.0, 0.0, 0.0))


def dates(folder):
    return [read_record(folder, "cam-1").date[:4]] + [
        read.read_text().split('"date": "')[1][:4] for read in history(folder, "cam-1", "camera")
    ]


def test_install_keeps_what_was_there_and_rollback_brings_it_back(tmp_path):
    for year in ("2021", "2022", "2023"):
        install(tmp_path, record(date=year))
    assert dates(tmp_path) == ["2023", "2021", "2022"]
    assert rollback(tmp_path, "cam-1", "camera").date == "2022"
    assert dates(tmp_path) == ["2022", "2021"]
    assert rollback(tmp_path, "cam-1", "camera").date == "2021"
    with pytest.raises(RecordError, match="no earlier camera calibration"):
        rollback(tmp_path, "cam-1", "camera")
    assert read_record(tmp_path, "cam-1").date == "2021"
    undone = sorted(p.read_text().split('"date": "')[1][:4] for p in tmp_path.rglob("*.undone"))
    assert undone == ["2022", "2023"], "who goes back by mistake has lost nothing"


def test_a_cut_between_keeping_and_replacing_costs_nothing(tmp_path):
    install(tmp_path, record(date="2021"))
    folder = tmp_path / HISTORY
    folder.mkdir()
    present = record_path(tmp_path, "cam-1", "camera").read_bytes()
    (folder / "cam-1.camera.0001.00000000.json").write_bytes(present)
    install(tmp_path, record(date="2022"))
    assert dates(tmp_path) == ["2022", "2021"]


def test_a_full_disk_leaves_the_old_record(tmp_path, monkeypatch):
    install(tmp_path, record(date="2021"))

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="space"):
        install(tmp_path, record(date="2022"))
    assert dates(tmp_path) == ["2021"]
    assert not list(tmp_path.rglob("*.new"))
