"""`companion calibrate target`: the sheet's squares are true, it is found in a picture, prints are judged."""

import json
import re

import numpy as np
import pytest

from calibration.board import parse_board
from calibration.corners import detect
from tools import companion
from tools.calibrate.target_sheet import PAPERS_MM, squares_of

POINT_MM = 25.4 / 72
CHESS = "chessboard:9x6:25mm"
CHARUCO = "charuco:5x7:35mm:26mm:DICT_5X5_100"


def target(capsys, *argv):
    code = companion.main(["calibrate", "target", *map(str, argv)])
    out, err = capsys.readouterr()
    return code, out, err


def rectangles(content: bytes):
    """Paper [mm] and filled rectangles (N, 4) [mm] that a PDF's page draws."""
    text = content.decode("ascii")
    paper = re.search(r"/MediaBox \[0 0 ([\d.]+) ([\d.]+)\]", text)
    found = re.findall(r"^([\d.]+) ([\d.]+) ([\d.]+) ([\d.]+) re f$", text, re.MULTILINE)
    return np.array(paper.groups(), float) * POINT_MM, np.array(found, float) * POINT_MM


def raster(paper, boxes, px_mm=3.0):
    """(H, W) picture of the sheet, as a scanner sees it."""
    width, height = np.round(paper * px_mm).astype(int)
    image = np.full((height, width), 255, np.uint8)
    for x, y, w, h in boxes:
        left, right = round(x * px_mm), round((x + w) * px_mm)
        top, low = round(height - (y + h) * px_mm), round(height - y * px_mm)
        image[max(0, top) : max(low, top + 1), left : max(right, left + 1)] = 0
    return image


@pytest.mark.parametrize("paper", PAPERS_MM)
@pytest.mark.parametrize("text", [CHESS, CHARUCO, "chessboard:6x4:20mm"])
def test_a_sheet_is_true_to_size_and_is_found(capsys, tmp_path, text, paper):
    if text == CHARUCO and paper == "letter":
        text = "charuco:5x7:34mm:25mm:DICT_5X5_100"
    out = tmp_path / "board.pdf"
    code, said, _ = target(capsys, "--board", text, "--paper", paper, "--out", out)
    assert code == 0 and "measure both rulers" in said
    content = out.read_bytes()
    size, boxes = rectangles(content)
    assert sorted(size) == pytest.approx(PAPERS_MM[paper], abs=0.01)
    board = parse_board(text)
    side = board.square_m * 1e3
    squares = boxes[np.isclose(boxes[:, 2:], side, atol=1e-3).all(1)]
    columns, rows = squares_of(board)
    assert len(squares) == (columns * rows + 1) // 2
    steps = (squares[:, :2] - squares[:, :2].min(0)) / side
    assert np.abs(steps - np.round(steps)).max() < 1e-4
    seen = detect(raster(size, boxes), board)
    assert seen is not None and len(seen.ids) == len(board.points)
    assert not seen.mirrored and not seen.inverted
    # corners found in the picture are as far apart as on the board
    apart = np.linalg.norm(seen.pixels[-1] - seen.pixels[0]) / 3.0
    assert apart == pytest.approx(1e3 * np.linalg.norm(board.points[seen.ids[-1]] - board.points[seen.ids[0]]), abs=0.4)  # fmt: skip


def test_the_rulers_are_100_mm_from_edge_to_edge_and_touch_nothing(capsys, tmp_path):
    target(capsys, "--board", CHESS, "--out", tmp_path / "b.pdf")
    _, boxes = rectangles((tmp_path / "b.pdf").read_bytes())
    board = boxes[np.isclose(boxes[:, 2], 25, atol=1e-3)]
    rest = boxes[~np.isclose(boxes[:, 2], 25, atol=1e-3)]
    for axis in (0, 1):
        along = rest[(rest[:, 2 + axis] < 0.5) & (rest[:, 3 - axis] > 1) & (rest[:, 3 - axis] < 5)]
        assert len(along) == 11
        assert np.ptp([along[:, axis].min(), (along[:, axis] + along[:, 2 + axis]).max()]) == pytest.approx(100, abs=1e-3)  # fmt: skip
    apart = (rest[:, :2] + rest[:, 2:] < board[:, :2].min(0)).any(1)
    assert apart.all(), "left of the board, or below it"
    text = (tmp_path / "b.pdf").read_text("ascii")
    assert "Print at 100 %" in text and "chessboard:9x6:25mm  A4  id " in text


def test_a_sheet_is_the_same_every_time_and_its_table_of_objects_is_right(capsys, tmp_path):
    for name in "ab":
        target(capsys, "--board", CHESS, "--out", tmp_path / name)
    content = (tmp_path / "a").read_bytes()
    assert content == (tmp_path / "b").read_bytes()
    for number, at in enumerate(re.findall(rb"^(\d{10}) 00000 n", content, re.MULTILINE), 1):
        assert content[int(at) :].startswith(b"%d 0 obj" % number)
    start = int(re.search(rb"startxref\n(\d+)", content)[1])
    assert content[start:].startswith(b"xref")


@pytest.mark.parametrize(
    ("board", "paper", "says"),
    [
        ("chessboard:9x6:40mm", "A4", "is 27 mm: give --board chessboard:9x6:26.5mm"),
        ("charuco:5x7:40mm:30mm:DICT_5X5_100", "A4", "or --paper A3"),
        ("chessboard:9x6:400mm", "A3", "the largest square that fits is"),
    ],
)
def test_what_does_not_fit_is_refused_with_what_would(capsys, tmp_path, board, paper, says):
    code, _, err = target(capsys, "--board", board, "--paper", paper, "--out", tmp_path / "b.pdf")
    assert code == 1 and err.count("\n") == 1
    proposed = re.search(r"give --board (\S+?),? ?(?:or|$)", err.strip())
    assert "does not fit" in err
    assert not (tmp_path / "b.pdf").exists()
    code, _, _ = target(capsys, "--board", proposed[1].rstrip(","), "--paper", paper, "--out", tmp_path / "b.pdf")  # fmt: skip
    assert code == 0
    if "give --board" not in says:
        assert says in err


@pytest.mark.parametrize(
    ("measured", "code", "says"),
    [
        ("97mm", 3, "Printed at 97 %: give --board chessboard:9x6:24.25mm"),
        ("9.7cm", 3, "24.25mm"),
        ("97mm,97.2mm", 3, "Printed at 97.1 %"),
        ("100.4mm", 0, "Printed true: give --board chessboard:9x6:25mm"),
        ("97mm,100mm", 1, "the printer stretches: 97 mm along x, 100 mm along y"),
        ("97", 2, "with its unit"),
        ("97mm,97mm,97mm", 2, "with its unit"),
        ("25mm", 2, "not a square"),
        ("0mm", 2, "not near 100 mm"),
    ],
)
def test_a_print_is_judged(capsys, measured, code, says):
    got, out, err = target(capsys, "--board", CHESS, "--measured", measured)
    assert got == code and says in out + err
    assert (out + err).count("\n") == 1


def test_a_print_of_a_charuco_board_scales_its_markers(capsys):
    code, out, _ = target(capsys, "--board", CHARUCO, "--measured", "98mm", "--json")
    assert code == 3
    assert json.loads(out)["board"] == "charuco:5x7:34.3mm:25.48mm:DICT_5X5_100"


@pytest.mark.parametrize(
    ("argv", "code", "says"),
    [
        (["--board", CHESS], 2, "one of the two"),
        (["--board", CHESS, "--out", "b.pdf", "--measured", "97mm"], 2, "one of the two"),
        (["--board", CHESS, "--out", "no/b.pdf"], 2, "no folder"),
        (["--board", "chessboard:9x6:25", "--out", "b.pdf"], 1, "no unit"),
        (["--board", "points:a.csv", "--out", "b.pdf"], 1, "is not understood"),
    ],
)
def test_bad_input_is_one_sentence(capsys, tmp_path, monkeypatch, argv, code, says):
    monkeypatch.chdir(tmp_path)
    got, _, err = target(capsys, *argv)
    assert got == code and says in err and err.count("\n") == 1
