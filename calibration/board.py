"""Calibration targets: chessboards, ChArUco boards, and points measured elsewhere."""

from __future__ import annotations

import re
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from calibration.errors import DataError

Floats = npt.NDArray[np.float64]
UNITS = {"mm": 1e-3, "cm": 1e-2, "m": 1.0}
SMALLEST_M, LARGEST_M = 0.002, 0.5  # of one square: a stamp, and a wall


@dataclass(frozen=True, slots=True)
class Board:
    """A flat target. `columns` x `rows`: inner corners of a chessboard, squares of a ChArUco board."""

    kind: str  # chessboard | charuco
    columns: int
    rows: int
    square_m: float
    marker_m: float = 0.0
    dictionary: str = ""

    @property
    def grid(self) -> tuple[int, int]:
        """Inner corners: columns, rows."""
        less = 1 if self.kind == "charuco" else 0
        return self.columns - less, self.rows - less

    @property
    def points(self) -> Floats:
        """(N, 3) inner corners in the board's frame [m], row by row, z = 0 on the board."""
        columns, rows = self.grid
        y, x = np.mgrid[:rows, :columns].astype(np.float64)
        offset = 1 if self.kind == "charuco" else 0  # ChArUco's origin is the board's corner
        flat = np.stack((x.ravel() + offset, y.ravel() + offset, np.zeros(x.size)), axis=1)
        return flat * self.square_m

    def charuco(self) -> cv2.aruco.CharucoBoard:
        """OpenCV's form of a ChArUco board."""
        return cv2.aruco.CharucoBoard(
            (self.columns, self.rows), self.square_m, self.marker_m, _dictionary(self.dictionary)
        )

    def __str__(self) -> str:
        size = f"{self.kind}:{self.columns}x{self.rows}:{_mm(self.square_m)}"
        return size + (f":{_mm(self.marker_m)}:{self.dictionary}" if self.marker_m else "")


def parse_board(text: str) -> Board:
    """`chessboard:9x6:25mm` (inner corners) or `charuco:5x7:40mm:30mm:DICT_5X5_100` (squares)."""
    parts = text.split(":")
    forms = {"chessboard": 3, "charuco": 5}
    if forms.get(parts[0]) != len(parts):
        raise DataError(
            f"board {text!r} is not understood; give chessboard:COLUMNSxROWS:SQUARE in inner corners, as"
            " chessboard:9x6:25mm, or charuco:COLUMNSxROWS:SQUARE:MARKER:DICTIONARY in squares, as"
            " charuco:5x7:40mm:30mm:DICT_5X5_100"
        )
    size = re.fullmatch(r"(\d+)x(\d+)", parts[1])
    if size is None or min(int(size[1]), int(size[2])) < 3 or max(int(size[1]), int(size[2])) > 50:
        raise DataError(
            f"board {text!r}: size {parts[1]!r}; give columns x rows from 3 to 50, as 9x6"
        )
    columns, rows = int(size[1]), int(size[2])
    square = _length(text, parts[2])
    if parts[0] == "chessboard":
        return Board("chessboard", columns, rows, square)
    marker = _length(text, parts[3])
    if not marker < square:
        raise DataError(
            f"board {text!r}: markers of {_mm(marker)} do not fit into squares of {_mm(square)};"
            " the square comes first"
        )
    _dictionary(parts[4])
    return Board("charuco", columns, rows, square, marker, parts[4])


def _length(board: str, text: str) -> float:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)(mm|cm|m)", text)
    if match is None:
        raise DataError(
            f"board {board!r}: length {text!r} has no unit; write 25mm, 2.5cm or 0.025m"
        )
    metres = float(match[1]) * UNITS[match[2]]
    if not SMALLEST_M <= metres <= LARGEST_M:
        raise DataError(
            f"board {board!r}: {text} is {metres:g} m, outside {SMALLEST_M:g} to {LARGEST_M:g} m;"
            " check the unit"
        )
    return metres


def _dictionary(name: str) -> cv2.aruco.Dictionary:
    known = sorted(n for n in dir(cv2.aruco) if n.startswith("DICT_"))
    if name not in known:
        raise DataError(f"marker dictionary {name!r} is unknown; known are {', '.join(known)}")
    return cv2.aruco.getPredefinedDictionary(getattr(cv2.aruco, name))


def _mm(metres: float) -> str:
    return f"{metres * 1e3:g}mm"
