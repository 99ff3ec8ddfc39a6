"""`companion calibrate camera`: real photographs, boards of every kind, and an independent judge."""

import ast
import csv
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from calibration.board import parse_board
from calibration.bundle_adjustment import Solution
from calibration.camera import LensCamera, PinholeCamera
from calibration.corners import detect
from calibration.intrinsics import FAMILIES
from calibration.lens_trust import grid_px, projection_change
from calibration.store import history, read_record
from tools import companion
from tools.twin.board_view import BoardView

PHOTOS = Path(__file__).parents[2].parent / "shared" / "data" / "chessboard"
needs_photos = pytest.mark.skipif(not PHOTOS.is_dir(), reason="no ../shared/data/chessboard here")
BOARD = "chessboard:9x6:25mm"
CHARUCO = "charuco:5x7:40mm:30mm:DICT_5X5_100"
LENS = LensCamera(PinholeCamera(320, 240, 260, 260, 160, 119), (-0.2, 0.04, 0, 0, 0))


def solve(capsys, *argv):
    code = companion.main(["calibrate", "camera", "solve", *map(str, argv), "--json"])
    out, err = capsys.readouterr()
    return code, json.loads(out) if out else {}, err


def pictures(folder, board_text, count=14, seed=0, mirror=False, inverted=False, lens=LENS):
    """A folder of pictures of a board in a hand that goes everywhere."""
    rng = np.random.default_rng(seed)
    board = parse_board(board_text)
    p = lens.pinhole
    view = BoardView(board, p.width, p.height, lens.unproject, 1.5, inverted)
    middle, made = board.points.mean(0), 0
    folder.mkdir()
    while made < count:
        at = rng.uniform(*((0.1, 0.9) if board.kind == "charuco" else (0.2, 0.8)), (1, 2)) * (
            p.width,
            p.height,
        )
        lean = rng.normal(size=2)
        lean *= rng.uniform(0.25, 0.6) / np.linalg.norm(lean)
        turn = cv2.Rodrigues(np.array([*lean, rng.normal(0, 0.2)]))[0]
        shift = lens.unproject(at)[0] * rng.uniform(0.35, 0.6) - turn @ middle
        image = view.look(np.concatenate([cv2.Rodrigues(turn)[0].ravel(), shift]), rng)
        if board.kind == "chessboard" and detect(image, board) is None:
            continue
        cv2.imwrite(str(folder / f"{made:02d}.png"), image[:, ::-1] if mirror else image)
        made += 1
    return folder


@needs_photos
def test_the_left_set(capsys, tmp_path):
    report = tmp_path / "r.html"
    code, verdict, _ = solve(capsys, "--images", PHOTOS, "--board", BOARD, "--report", report)
    quality = verdict["quality"]
    assert quality["rms_px"] <= 0.22
    assert quality["worst_view_px"] <= 0.35
    assert quality["bad_views"] == []
    assert verdict["result"]["image_size"] == [640, 480]
    assert code == {"PASS": 0, "MARGINAL": 3}[verdict["verdict"]]
    page = report.read_text()
    assert page.count("<svg") == 6 and "data:image/jpeg" in page
    assert not re.search(r"(?:src|href)=[\"']?(?:https?:)?//", page)


@needs_photos
def test_a_window_that_reaches_the_neighbours_is_seen_by_its_bad_view(capsys):
    _, verdict, _ = solve(capsys, "--images", PHOTOS, "--board", BOARD, "--window", 11)
    assert verdict["quality"]["bad_views"] == ["left02.jpg"]


@needs_photos
@pytest.mark.parametrize("part", [slice(0, 7), slice(7, None), slice(0, None, 2)])
def test_half_of_the_views_is_no_pass_and_a_region_is_named(capsys, tmp_path, part):
    for photo in sorted(PHOTOS.glob("*.jpg"))[part]:
        shutil.copy(photo, tmp_path)
    code, verdict, _ = solve(capsys, "--images", tmp_path, "--board", BOARD)
    assert code in (1, 3)
    assert re.search("left|right", verdict["cause"]), verdict["cause"]


@needs_photos
def test_another_board_than_asked_for_is_named(capsys, tmp_path):
    shutil.copy(PHOTOS / "left01.jpg", tmp_path)
    code, verdict, _ = solve(capsys, "--images", tmp_path, "--board", "chessboard:10x7:25mm")
    assert code == 1
    assert "9x6" in verdict["cause"]


@pytest.mark.heavy
@needs_photos
@pytest.mark.skipif(
    shutil.which("mrcal-calibrate-cameras") is None, reason="mrcal is not installed"
)
def test_mrcal_agrees(capsys, tmp_path):
    _, verdict, _ = solve(capsys, "--images", PHOTOS, "--board", BOARD)
    board = parse_board(BOARD)
    lines = ["# filename x y level"]
    for photo in sorted(PHOTOS.glob("*.jpg")):
        shutil.copy(photo, tmp_path)
        seen = detect(cv2.imread(str(photo)), board)
        lines += [f"{photo.name} {x:.6f} {y:.6f} 0" for x, y in seen.pixels]
    (tmp_path / "corners.vnl").write_text("\n".join(lines) + "\n")
    command = "mrcal-calibrate-cameras --corners-cache corners.vnl --lensmodel LENSMODEL_OPENCV5 --focal 530 --object-spacing 0.025 --object-width-n 9 --object-height-n 6 --imagersize 640 480 left*.jpg"
    subprocess.run(command.split(), cwd=tmp_path, check=True, capture_output=True, timeout=120)
    text = (tmp_path / "camera-0.cameramodel").read_text()
    theirs = np.array(ast.literal_eval(text)["intrinsics"])
    matrix = np.array(verdict["result"]["camera_matrix"])
    ours = np.array(
        [matrix[0, 0], matrix[1, 1], matrix[0, 2], matrix[1, 2], *verdict["result"]["distortion"]]
    )
    family, nothing = FAMILIES["pinhole"], np.eye(9)
    one, other = (
        Solution(family, x, np.zeros((1, 6)), [], nothing, nothing) for x in (ours, theirs)
    )
    assert np.median(projection_change(one, other, grid_px((640, 480)))) <= 0.5


@pytest.mark.parametrize("inverted", [False, True])
def test_a_charuco_board_is_seen_in_either_polarity(capsys, tmp_path, inverted):
    folder = pictures(tmp_path / "p", CHARUCO, count=24, inverted=inverted)
    code, verdict, _ = solve(capsys, "--images", folder, "--board", CHARUCO)
    assert code in (0, 3), verdict["cause"]
    assert verdict["quality"]["inverted"] is inverted
    matrix = np.array(verdict["result"]["camera_matrix"])
    assert abs(matrix[0, 0] - 260) < max(4 * verdict["result"]["std"]["fx"], 1)


def test_a_mirrored_stream_is_refused_by_name(capsys, tmp_path):
    folder = pictures(tmp_path / "p", CHARUCO, count=6, mirror=True)
    code, verdict, _ = solve(capsys, "--images", folder, "--board", CHARUCO)
    assert code == 1
    assert "mirrored" in verdict["cause"]


def test_a_video_and_repeated_views(capsys, tmp_path):
    folder = pictures(tmp_path / "p", "chessboard:7x5:35mm", count=12)
    writer = cv2.VideoWriter(
        str(tmp_path / "v.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 20, (320, 240)
    )
    for file in sorted(folder.iterdir()):
        for _ in range(3):
            writer.write(cv2.imread(str(file)))
    writer.release()
    code, verdict, _ = solve(
        capsys, "--images", tmp_path / "v.avi", "--board", "chessboard:7x5:35mm"
    )
    assert verdict["quality"]["views"] + len(verdict["quality"]["bad_views"]) <= 13
    assert verdict["quality"]["repeated_views"] >= 20
    fx = verdict["result"]["camera_matrix"][0][
        0
    ]  # blurred by the codec: no figure for a test of noise
    assert fx == pytest.approx(260, rel=0.05)
    assert code == {"PASS": 0, "MARGINAL": 3, "FAIL": 1}[verdict["verdict"]]


def corners_csv(path, head, cameras):
    from tests_calibration_views import views  # placed by the fixture below

    rows = []
    for camera in cameras:
        for number, view in enumerate(views()):
            for point, pixel in zip(view.points, view.pixels, strict=True):
                rows.append([camera, number, *point[:2], *pixel])
    with path.open("w", newline="") as stream:
        csv.writer(stream).writerows([head, *rows])


@pytest.fixture(autouse=True)
def _views(monkeypatch):
    """The synthetic views of the solver's own tests, under a name of their own."""
    import importlib.util

    path = Path(__file__).parents[1] / "calibration" / "test_intrinsics.py"
    spec = importlib.util.spec_from_file_location("tests_calibration_views", path)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "tests_calibration_views", module)
    spec.loader.exec_module(module)


@pytest.mark.parametrize(
    "head",
    [
        ["port", "sync_index", "obj_loc_x", "obj_loc_y", "img_loc_x", "img_loc_y"],
        ["camera", "view", "X", "Y", "u", "v"],
    ],
)
def test_corners_found_elsewhere(capsys, tmp_path, head):
    file = tmp_path / "points.csv"
    corners_csv(file, head, cameras=("a", "b"))
    code, _, err = solve(capsys, "--board", f"points:{file}", "--size", "640x480")
    assert code == 2 and "cameras a, b" in err
    code, verdict, _ = solve(
        capsys, "--board", f"points:{file}", "--size", "640x480", "--camera-id", "b"
    )
    assert code == 0, verdict["cause"]
    assert verdict["result"]["camera_matrix"][0][0] == pytest.approx(520, abs=2)


@pytest.mark.parametrize(
    ("argv", "code", "message"),
    [
        (["--board", BOARD], 2, "--images is missing"),
        (["--board", BOARD, "--images", "nowhere"], 2, "no such folder"),
        (["--board", BOARD, "--images", "."], 2, "no pictures"),
        (["--board", BOARD, "--images", "broken"], 1, "no picture that can be read"),
        (["--board", BOARD, "--images", "empty.avi"], 1, "no video"),
        (["--board", "chessboard:9x6:25", "--images", "."], 1, "no unit"),
        (["--board", "points:none.csv", "--size", "640x480"], 1, "none.csv"),
        (["--board", "points:bad.csv", "--size", "640x480"], 1, "needed are"),
        (["--board", "points:bad.csv"], 2, "--size"),
        (["--board", BOARD, "--images", ".", "--out", "no/where.json"], 2, "no folder"),
        (["--board", BOARD, "--images", ".", "--window", "-1"], 2, "--window"),
    ],
)
def test_bad_input_is_one_sentence(capsys, tmp_path, monkeypatch, argv, code, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "a.png").write_bytes(b"")
    (tmp_path / "empty.avi").write_bytes(b"nothing")
    (tmp_path / "bad.csv").write_text("a,b\n1,2\n")
    got, _, err = solve(capsys, *argv)
    assert got == code
    assert message in err and err.count("\n") == 1


def result_file(folder, verdict="PASS", tool="camera"):
    file = folder / f"{verdict}.json"
    result = {
        "model": "pinhole",
        "image_size": [640, 480],
        "camera_matrix": [[500, 0, 320], [0, 500, 240], [0, 0, 1]],
        "distortion": [0, 0, 0, 0, 0],
    }
    file.write_text(
        json.dumps(
            {
                "tool": tool,
                "verdict": verdict,
                "cause": "c",
                "next": "n",
                "result": result,
                "quality": {"rms_px": 0.2},
                "inputs_sha256": "0",
            }
        )
    )
    return str(file)


def install(*argv):
    return companion.main(["calibrate", "camera", "install", *argv])


def test_install_refuses_what_is_not_good(tmp_path, capsys):
    folder = ["--folder", str(tmp_path / "c"), "--serial", "cam"]
    assert install(result_file(tmp_path, "FAIL"), *folder) == 1
    assert install(result_file(tmp_path, "MARGINAL"), *folder) == 1
    assert install(result_file(tmp_path, tool="wheels"), *folder) == 2
    assert install(result_file(tmp_path), "--folder", str(tmp_path / "c")) == 2
    assert install(*folder) == 2
    assert not (tmp_path / "c").exists()
    assert install(result_file(tmp_path, "MARGINAL"), *folder, "--accept-marginal") == 0
    assert companion.main(["calibrate", "status", *folder[:2]]) == 3
    assert install(result_file(tmp_path), *folder) == 0
    assert companion.main(["calibrate", "status", *folder[:2], "--json"]) == 0
    assert install("--rollback", *folder) == 0
    assert read_record(tmp_path / "c", "cam").verdict == "MARGINAL"
    assert "--accept-marginal" in capsys.readouterr().err


@pytest.mark.heavy
def test_fifty_power_cuts_leave_the_old_record_or_the_new_one(tmp_path):
    rng = np.random.default_rng(11)
    folder = tmp_path / "c"
    command = [
        sys.executable,
        "-m",
        "tools.companion",
        "calibrate",
        "camera",
        "install",
        result_file(tmp_path),
        "--folder",
        str(folder),
        "--serial",
        "cam",
    ]
    began = time.monotonic()
    subprocess.run(command, check=True, capture_output=True, cwd=Path(__file__).parents[2])
    took = time.monotonic() - began
    for _ in range(50):
        running = subprocess.Popen(
            command,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd=Path(__file__).parents[2],
        )
        time.sleep(rng.uniform(0.4, 1.05) * took)
        os.kill(running.pid, signal.SIGKILL)
        running.wait()
        assert read_record(folder, "cam").verdict == "PASS"
        for old in history(folder, "cam", "camera"):
            assert json.loads(old.read_text())["serial"] == "cam"
    subprocess.run(command, check=True, capture_output=True, cwd=Path(__file__).parents[2])
