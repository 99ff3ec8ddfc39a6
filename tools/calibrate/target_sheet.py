"""The sheet with a board to print: true size, two rulers, one line of instructions; PDF written by hand.

Only filled rectangles and lines of text stand on it, so a dozen PDF operators are all it takes, and
every square's edges are numbers that a test can read back.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass

import cv2
import numpy as np

from calibration.board import Board
from calibration.errors import DataError

PAPERS_MM = {"A4": (210.0, 297.0), "A3": (297.0, 420.0), "letter": (215.9, 279.4)}  # portrait
EDGE_MM = 6.0  # what printers leave white
STRIP_MM = 12.0  # for the ruler and its text, below and left of the board
RULER_MM = 100.0
STEP_MM = 0.5  # in which a square that fits is proposed
POINT_MM = 25.4 / 72  # PDF counts in points
TEXT_MM = 2.6

Box = tuple[float, float, float, float]  # left, bottom, width, height [mm]


@dataclass(frozen=True)
class Sheet:
    """What is on the paper, in mm from its lower left corner."""

    size: tuple[float, float]
    board: list[Box]
    rulers: list[Box]
    texts: list[tuple[float, float, str]]  # left, baseline, words


def sheet_of(board: Board, paper: str) -> Sheet:
    """Lay the board out on `paper`, turned as it fits better.

    Raises DataError with the largest square that fits when it does not.
    """
    columns, rows = squares_of(board)
    wide, high = columns * board.square_m * 1e3, rows * board.square_m * 1e3
    portrait = PAPERS_MM[paper]
    size = max((portrait, portrait[::-1]), key=lambda s: _fits(s, columns, rows))
    largest = _fits(size, columns, rows)
    if largest < board.square_m * 1e3 - 1e-6:
        raise DataError(_too_large(board, paper, wide, high, largest))
    left = EDGE_MM + STRIP_MM + (_room(size)[0] - wide) / 2
    low = EDGE_MM + STRIP_MM + (_room(size)[1] - high) / 2
    boxes = [(left + x, low + high - y - h, w, h) for x, y, w, h in _ink(board)]
    return Sheet(size, boxes, _rulers(), _texts(board, paper, size))


def squares_of(board: Board) -> tuple[int, int]:
    """Columns and rows of squares; a chessboard is named by its inner corners."""
    more = 0 if board.kind == "charuco" else 1
    return board.columns + more, board.rows + more


def scaled(board: Board, factor: float) -> Board:
    """The board as it is when printed at `factor` of its size."""
    return Board(board.kind, board.columns, board.rows, board.square_m * factor, board.marker_m * factor, board.dictionary)  # fmt: skip


def pdf(sheet: Sheet) -> bytes:
    """The sheet as a PDF 1.4 of one page; the same sheet gives the same bytes."""
    lines = ["0 g"]
    lines += [" ".join(_points(v) for v in box) + " re f" for box in sheet.board + sheet.rulers]
    for x, y, words in sheet.texts:
        escaped = words.replace("\\", r"\\").replace("(", r"\(").replace(")", r"\)")
        lines.append(
            f"BT /F {_points(TEXT_MM * 1.35)} Tf {_points(x)} {_points(y)} Td ({escaped}) Tj ET"
        )
    drawing = "\n".join(lines).encode("ascii")
    page = " ".join(_points(v) for v in sheet.size)
    objects = (
        b"<< /Type /Catalog /Pages 2 0 R /ViewerPreferences << /PrintScaling /None >> >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 {page}] /Contents 4 0 R /Resources << /Font << /F 5 0 R >> >> >>".encode(),
        b"<< /Length %d >>\nstream\n%s\nendstream" % (len(drawing), drawing),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    )
    out, starts = bytearray(b"%PDF-1.4\n"), []
    for number, content in enumerate(objects, 1):
        starts.append(len(out))
        out += b"%d 0 obj\n%s\nendobj\n" % (number, content)
    table = b"".join(b"%010d 00000 n \n" % at for at in starts)
    end = len(out)
    out += b"xref\n0 %d\n0000000000 65535 f \n%s" % (len(starts) + 1, table)
    out += b"trailer\n<< /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (len(starts) + 1, end)
    return bytes(out)


def _room(size: tuple[float, float]) -> tuple[float, float]:
    return size[0] - 2 * EDGE_MM - STRIP_MM, size[1] - 2 * EDGE_MM - STRIP_MM


def _fits(size: tuple[float, float], columns: int, rows: int) -> float:
    """Largest square [mm]."""
    room = _room(size)
    return min(room[0] / columns, room[1] / rows)


def _too_large(board: Board, paper: str, wide: float, high: float, largest: float) -> str:
    square = math.floor(largest / STEP_MM) * STEP_MM
    fitting = scaled(board, square / (board.square_m * 1e3))
    columns, rows = squares_of(board)
    papers = [name for name, p in PAPERS_MM.items() if max(_fits(p, columns, rows), _fits(p[::-1], columns, rows)) >= board.square_m * 1e3]  # fmt: skip
    other = f", or --paper {papers[0]}" if papers else ""
    return (
        f"board {board} is {wide:g} x {high:g} mm and does not fit on {paper} with its rulers;"
        f" the largest square that fits is {square:g} mm: give --board {fitting}{other}"
    )


def _ink(board: Board) -> list[Box]:
    """Black rectangles: left, top, width, height [mm] from the board's upper left corner."""
    columns, rows = squares_of(board)
    side = board.square_m * 1e3
    out = [(x * side, y * side, side, side) for y in range(rows) for x in range(columns) if (x + y) % 2 == 0]  # fmt: skip
    if board.kind != "charuco":
        return out
    drawn = board.charuco()
    words = drawn.getDictionary()
    cells = words.markerSize + 2  # with the marker's black rim
    step = board.marker_m * 1e3 / cells
    for number, corners in zip(np.ravel(drawn.getIds()), drawn.getObjPoints(), strict=True):
        left, top = np.asarray(corners)[0, :2] * 1e3
        bits = cv2.aruco.generateImageMarker(words, int(number), cells)
        out += [(float(left) + x * step, float(top) + y * step, n * step, step) for y, x, n in _runs(bits == 0)]  # fmt: skip
    return out


def _runs(black: np.ndarray[tuple[int, ...], np.dtype[np.bool_]]) -> list[tuple[int, int, int]]:
    """Row, first column and length of what is black without a gap: no seams when printed."""
    out = []
    for y, row in enumerate(black):
        edges = np.flatnonzero(np.diff(np.concatenate([[0], row.astype(int), [0]])))
        out += [(y, int(a), int(b - a)) for a, b in zip(edges[::2], edges[1::2], strict=True)]
    return out


def _rulers() -> list[Box]:
    """100 mm along the lower edge and 100 mm along the left one, a mark every 10 mm, long at the ends."""
    line, at = 0.3, EDGE_MM + STRIP_MM
    low = EDGE_MM + 4.0
    out = [(at, low, RULER_MM, line), (low, at, line, RULER_MM)]
    for k in range(11):
        length = 4.0 if k % 10 == 0 else 2.0
        # a mark's outer edge is the place it marks: at the ends the whole is 100 mm
        place = at + k * 10 - (0.0 if k == 0 else line if k == 10 else line / 2)
        out += [(place, low, line, length), (low, place, length, line)]
    return out


def _texts(board: Board, paper: str, size: tuple[float, float]) -> list[tuple[float, float, str]]:
    mark = hashlib.sha256(f"{board} {paper}".encode()).hexdigest()[:8]
    at = EDGE_MM + STRIP_MM
    return [
        (at, EDGE_MM, "Print at 100 %, glue to a flat plate, measure the rulers: both must be 100 mm, outer edge to outer edge."),
        (at + 1, EDGE_MM + 9.0, f"{board}  {paper}  id {mark}"),
    ]  # fmt: skip


def _points(mm: float) -> str:
    return f"{mm / POINT_MM:.4f}"
