"""`companion calibrate camera-quick`: the same lens passes, one that moved or another camera does not."""

import dataclasses
import json

import cv2
import numpy as np
import pytest

from calibration.board import parse_board
from calibration.camera import LensCamera, PinholeCamera
from calibration.corners import detect
from calibration.store import Record, camera_result, write_record
from tools import companion
from tools.calibrate import camera_quick
from tools.twin.board_view import BoardView

BOARD = "chessboard:7x5:35mm"
LENS = LensCamera(PinholeCamera(320, 240, 260, 260, 160, 119), (-0.2, 0.04, 0, 0, 0))
OTHER = LensCamera(PinholeCamera(320, 240, 230, 262, 175, 119), (-0.05, 0.0, 0, 0, 0))


def shots(folder, lens=LENS, count=3):
    board = parse_board(BOARD)
    view, rng = BoardView.of(board, lens, 1.5), np.random.default_rng(1)
    folder.mkdir()
    for k, lean in enumerate([(0.5, 0.1), (-0.1, 0.5), (-0.5, 0.2)][:count]):
        turn = np.array([*lean, 0.1])
        at = lens.unproject(np.array([[130.0 + 30 * k, 110.0]]))[0] * 0.42
        shift = at - cv2.Rodrigues(turn)[0] @ board.points.mean(0)
        image = view.look(np.concatenate([turn, shift]), rng)
        assert detect(image, board) is not None
        cv2.imwrite(str(folder / f"{k}.png"), image)
    return folder


def stored(folder, lens=LENS, held_out=0.05, **changes):
    file = folder / "camera.json"
    verdict = {"tool": "camera", "verdict": "PASS", "cause": "c", "next": "n", "result": camera_result(lens), "quality": {"held_out_px": held_out}, "inputs_sha256": "0"}  # fmt: skip
    file.write_text(json.dumps(verdict | changes))
    return file


def quick(capsys, images, calibration, *more):
    argv = ["--images", images, "--calibration", calibration, "--board", BOARD, *more]
    code = companion.main(["calibrate", "camera-quick", "solve", *map(str, argv), "--json"])
    out, err = capsys.readouterr()
    return code, json.loads(out) if out else {}, err


def test_the_same_lens_passes(capsys, tmp_path):
    code, verdict, _ = quick(capsys, shots(tmp_path / "p"), stored(tmp_path))
    assert code == 0 and verdict["verdict"] == "PASS"
    assert verdict["quality"]["drift_px"] < 0.15
    assert verdict["quality"]["stored_held_out_px"] == 0.05


def test_an_installed_record_is_taken_too(capsys, tmp_path):
    record = Record(kind="camera", serial="cam", date="d", tool_version="0", verdict="PASS", cause="", next="", result=camera_result(LENS), quality={"held_out_px": 0.05})  # fmt: skip
    file = write_record(tmp_path / "c", record)
    code, verdict, _ = quick(capsys, shots(tmp_path / "p"), file)
    assert code == 0 and verdict["device"] == "cam"


def test_another_lens_fails_by_name(capsys, tmp_path):
    code, verdict, _ = quick(capsys, shots(tmp_path / "p", OTHER), stored(tmp_path))
    assert code == 1
    assert "the lens moved, or this is another camera" in verdict["cause"]
    assert "recalibrate" in verdict["next"]


@pytest.mark.parametrize("change", [{"fx": 267.8, "fy": 267.8}, {"cx": 185.0}, {"cx": 165.0}])
def test_a_lens_that_poses_would_hide_is_seen(capsys, tmp_path, change):
    moved = LensCamera(dataclasses.replace(LENS.pinhole, **change), LENS.distortion)
    code, verdict, _ = quick(capsys, shots(tmp_path / "p"), stored(tmp_path, moved))
    quality = verdict["quality"]
    assert quality["drift_px"] < 0.5, "the residual alone would pass"
    assert code == 1 and "the lens moved" in verdict["cause"]
    lens, centre = (quality[f"{k}_change_px"] / quality[f"{k}_change_std_px"] for k in ("lens", "centre"))  # fmt: skip
    assert lens > 4 or centre > 4


def test_worse_than_it_was_and_shots_that_cannot_tell_are_marginal():
    (worse,) = camera_quick._findings(0.4, 0.05, 1.0)
    assert worse.level == "MARGINAL" and "it was 0.05 px" in worse.cause
    change = camera_quick.Change(0.5, 0.1, 1.0, 1.0)
    assert camera_quick._moved(change, 1.0, 500) == []
    for vague in ({"lens_px": 2.0, "lens_std_px": 1.5}, {"centre_px": 9.0, "centre_std_px": 3.5}):
        (found,) = camera_quick._moved(dataclasses.replace(change, **vague), 1.0, 500)
        assert found.level == "MARGINAL" and "cannot tell" in found.cause
    (found,) = camera_quick._moved(dataclasses.replace(change, centre_px=5.0), 1.0, 500)
    assert found.level == "FAIL" and "5 ± 1 px elsewhere, 0.57 deg" in found.cause


def test_two_shots_are_too_few(capsys, tmp_path):
    code, verdict, _ = quick(capsys, shots(tmp_path / "p", count=2), stored(tmp_path))
    assert code == 1 and "2 different pictures of 2; 3 are the least" in verdict["cause"]


def test_another_size_and_another_camera_are_refused_by_name(capsys, tmp_path):
    images = shots(tmp_path / "p")
    larger = LensCamera(PinholeCamera(640, 480, 520, 520, 320, 239), LENS.distortion)
    code, _, err = quick(capsys, images, stored(tmp_path, larger))
    assert code == 1 and "pictures are 320x240" in err and "is of 640x480" in err
    head = {"board": BOARD, "serial": "left", "camera": "0", "body": "b", "size": [320, 240], "date": "d"}  # fmt: skip
    (images / "record.json").write_text(json.dumps(head))
    code, _, err = quick(capsys, images, stored(tmp_path, device="right"))
    assert code == 1 and "of camera left" in err and "of right" in err


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "no such file"),
        ("not json", "is no calibration"),
        ('{"tool": "wheels", "result": {}, "quality": {}}', "is of wheels"),
        ('{"result": {}, "quality": {}}', "is of nothing known"),
    ],
)
def test_what_is_no_calibration_is_one_sentence(capsys, tmp_path, content, says):
    file = tmp_path / "f.json"
    if content is not None:
        file.write_text(content)
    code, _, err = quick(capsys, tmp_path, file)
    assert code == 2 and says in err and err.count("\n") == 1
