"""What to do next with a board before a camera, in words: from what was found in the newest picture.

Needs are asked for one at a time and kept until they are met, and words change only when the new
ones were right for several looks in a row: advice that flickers is not followed.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
import numpy.typing as npt

from calibration.board import Board
from calibration.bundle_adjustment import View, rms
from calibration.corners import Detection
from calibration.lens_checks import region
from calibration.lens_trust import CELLS, coverage, tilt
from calibration.projection import matrix, project

Floats = npt.NDArray[np.float64]
VIEWS, VIEWS_SMALL = 20, 40  # a small picture's corners are noisier, for its size
SMALL_PX = 320
MOST_VIEWS = 60  # more say nothing new
NEAR_VIEWS, NEAR_SHARE = 4, 0.5  # views in which the corners span this much of the picture
CELL_CORNERS = 2  # make a cell seen
TILT_RAD = 0.3
TILTS = ("left side", "top", "right side", "bottom")  # leaning away: slope along +x, +y, -x, -y
STILL_PX, STILL_FLOOR_PX = 1.0, 0.3  # per frame, in a picture 640 wide; and what noise alone makes
STILL_LOOKS = 2
BLURRED_PX = 3.5  # width of an edge, in a picture 640 wide
NEW_SHARE = 0.05  # of the width: how far the board must have moved to be another view
STEADY_LOOKS = 4  # before other words are shown
PATIENCE_LOOKS = 240  # then something else is asked for, and this again later
FOCALS = (0.45, 0.6, 0.8, 1.1, 1.6)  # of the width, tried on the views taken so far
FIRST_FOCAL = 0.8
FOCAL_VIEWS = (4, 8, 16, 32)  # after so many it is chosen again

Kind = Literal["cell", "tilt", "near", "view"]


@dataclass(frozen=True, slots=True)
class Need:
    """One thing that is missing: `index` is a cell (row by row) or a direction of `TILTS`."""

    kind: Kind
    index: int = 0

    @property
    def words(self) -> str:
        """What to do about it."""
        if self.kind == "cell":
            return f"fill the {region(*divmod(self.index, CELLS))}"
        if self.kind == "tilt":
            return f"tilt the {TILTS[self.index]} away"
        return (
            "come closer"
            if self.kind == "near"
            else "another view: move and tilt the board, then hold it still"
        )


@dataclass(frozen=True, slots=True)
class Advice:
    """What to say, whether to keep this picture, whether all is there, and how much of it is."""

    text: str
    take: bool
    done: bool
    share: float  # 0 to 1, never falling
    need: Need | None  # what is asked for now


class Guide:
    """Follows one recording of `board` in pictures of `size` (width, height) [px]."""

    def __init__(self, board: Board, size: tuple[int, int]) -> None:
        self.board, self.size = board, size
        self.wanted_views = VIEWS if size[0] >= SMALL_PX else VIEWS_SMALL
        self.counts = np.zeros((CELLS, CELLS), np.int64)  # corners taken, row by row
        self.tilts = np.zeros(len(TILTS), np.int64)  # views taken that lean so
        self.near = 0
        self._views: list[View] = []
        self._marks: list[Floats] = []
        self._focal = FIRST_FOCAL
        self._before: Detection | None = None
        self._still = 0
        self._need: Need | None = None
        self._asked = 0
        self._late: deque[Need] = deque()
        self._shown, self._next, self._next_looks = "", "", 0
        self._share = 0.0

    @property
    def views(self) -> int:
        """How many were taken."""
        return len(self._views)

    def keep(self, seen: Detection) -> None:
        """Count a picture as taken; those of an earlier recording too."""
        self._views.append(self._view(seen))
        self._marks.append(self._mark(seen))
        self.counts = coverage(self._views, self.size)
        self._lean()
        self.near += int(self._span(seen) >= NEAR_SHARE)
        self._share = max(self._share, self._progress())

    def look(self, seen: Detection | None) -> Advice:
        """Advice on the newest picture; where `take` is set, it has been counted as taken."""
        self._follow(seen)
        take = seen is not None and not self.done and self._worth(seen)
        if take and seen is not None:
            self.keep(seen)
        self._choose()
        text = self._steady(self._said(seen, take), take)
        return Advice(text, take, self.done, self._share, None if self.done else self._need)

    @property
    def done(self) -> bool:
        """Nothing is missing, or more views would say nothing new."""
        return self.views >= MOST_VIEWS or not self.missing()

    def missing(self) -> list[Need]:
        """All that is still to be shown."""
        out = [Need("cell", int(i)) for i in np.flatnonzero(self.counts.ravel() < CELL_CORNERS)]
        out += [Need("tilt", int(i)) for i in np.flatnonzero(self.tilts == 0)]
        if self.near < NEAR_VIEWS:
            out.append(Need("near"))
        if not out and self.views < self.wanted_views:
            out.append(Need("view"))
        return out

    def blurred(self, seen: Detection) -> bool:
        """Edges wider than a solver should be given."""
        return seen.edge_px > BLURRED_PX * max(0.6, self.size[0] / 640)

    def _view(self, seen: Detection) -> View:
        return View(str(len(self._views)), self.board.points[seen.ids], seen.pixels)

    def _follow(self, seen: Detection | None) -> None:
        """Count the pictures in a row in which the board has not moved."""
        before, self._before = self._before, seen
        if seen is None or before is None:
            self._still = 0
            return
        both, mine, theirs = np.intersect1d(seen.ids, before.ids, return_indices=True)
        moved = np.linalg.norm(seen.pixels[mine] - before.pixels[theirs], axis=1)
        limit = max(STILL_FLOOR_PX, STILL_PX * self.size[0] / 640)
        self._still = self._still + 1 if len(both) >= 4 and np.median(moved) < limit else 0

    def _worth(self, seen: Detection) -> bool:
        if seen.mirrored:
            return False
        return self._still >= STILL_LOOKS and not self.blurred(seen) and self._new(seen)

    def _new(self, seen: Detection) -> bool:
        mark = self._mark(seen)
        apart = [float(np.linalg.norm(mark - m)) / 2 for m in self._marks]
        return min(apart, default=np.inf) > NEW_SHARE * self.size[0]

    def _mark(self, seen: Detection) -> Floats:
        """(8,) where the middles of the board's sides are [px], by the map of plane to picture."""
        flat = self.board.points[:, :2]
        low, high = flat.min(0), flat.max(0)
        unit = 2 * (flat[seen.ids] - low) / (high - low) - 1
        rows = np.concatenate([unit, np.ones((len(unit), 1))], axis=1)
        fit = np.linalg.lstsq(np.c_[rows, unit[:, :1] * unit[:, 1:]], seen.pixels, rcond=None)[0]
        sides = np.array([[1, 0, 1, 0], [0, 1, 1, 0], [-1, 0, 1, 0], [0, -1, 1, 0]])
        return np.asarray(sides @ fit).ravel()

    def _span(self, seen: Detection) -> float:
        """Share of the picture's width or height between the outermost corners."""
        return float((np.ptp(seen.pixels, axis=0) / self.size).max())

    def _lean(self) -> None:
        """Count the newest view's tilt; all again where another focal length fits better by now."""
        fresh = self._views[-1:]
        if self.views in FOCAL_VIEWS:
            self._focal, fresh = min(FOCALS, key=self._misfit), self._views
            self.tilts = np.zeros(len(TILTS), np.int64)
        for view in fresh:
            direction = self._direction(view)
            if direction is not None:
                self.tilts[direction] += 1

    def _misfit(self, focal: float) -> float:
        """Median RMS [px] over the views, their poses fitted."""
        return float(np.median([self._place(view, focal)[1] for view in self._views]))

    def _direction(self, view: View) -> int | None:
        """Which of `TILTS` the board leans to; None where it hardly leans, or between two."""
        lean = tilt(self._place(view, self._focal)[0])
        eighth = round(float(np.arctan2(lean[1], lean[0])) / (np.pi / 4)) % 8
        return eighth // 2 if np.linalg.norm(lean) > TILT_RAD and eighth % 2 == 0 else None

    def _place(self, view: View, focal: float) -> tuple[Floats, float]:
        """Rough pose (6,) of a view and its RMS [px], through a lens without distortion."""
        middle = (np.array(self.size) - 1) / 2
        lens = np.array([focal * self.size[0], focal * self.size[0], *middle, 0, 0, 0, 0, 0])
        _, turn, shift = cv2.solvePnP(view.points, view.pixels, matrix(lens), None, flags=cv2.SOLVEPNP_IPPE)  # fmt: skip
        pose = np.concatenate([np.ravel(turn), np.ravel(shift)])
        return pose, rms([project("pinhole", lens, pose, view.points)[0] - view.pixels])

    def _progress(self) -> float:
        have = int((self.counts >= CELL_CORNERS).sum()) + int((self.tilts > 0).sum())
        have += min(self.near, NEAR_VIEWS) + min(self.views, self.wanted_views)
        return have / (CELLS**2 + len(TILTS) + NEAR_VIEWS + self.wanted_views)

    def _choose(self) -> None:
        """Keep asking for one thing until it is met; what cannot be met now comes again later."""
        missing = self.missing()
        if self._need in missing and self._asked < PATIENCE_LOOKS:
            self._asked += 1
            return
        if self._need in missing and self._need is not None:
            self._late.append(self._need)
        fresh = [n for n in missing if n not in self._late]
        if not fresh:
            self._late.clear()
            fresh = missing
        self._need, self._asked = (self._nearest(fresh) if fresh else None), 0

    def _nearest(self, needs: list[Need]) -> Need:
        """Cells first, the one nearest to where the board is; then the order of `missing`."""
        cells = [n for n in needs if n.kind == "cell"]
        if not cells or self._before is None:
            return needs[0]
        at = self._before.pixels.mean(0) / self.size * CELLS - 0.5  # column, row
        return min(cells, key=lambda n: float(np.hypot(n.index % CELLS - at[0], n.index // CELLS - at[1])))  # fmt: skip

    def _said(self, seen: Detection | None, take: bool) -> str:
        if self.done:
            return "done: put the board away; the terminal says what is next"
        wanted = self._need.words if self._need else ""
        if seen is None:
            return "hold the whole board before the camera" if not self.views else f"show the whole board, then {wanted}"  # fmt: skip
        if seen.mirrored:
            return "the picture is mirrored: switch that off in the camera's settings"
        if not take and self._new(seen):
            if self._still < STILL_LOOKS and self._meets(seen):
                return "hold still"
            if self._still >= STILL_LOOKS and self.blurred(seen):
                return "more light: blurred"
        return wanted

    def _meets(self, seen: Detection) -> bool:
        """Whether this picture would give what is asked for."""
        if self._need is None or self._need.kind == "view":
            return False
        if self._need.kind == "tilt":
            return self._direction(self._view(seen)) == self._need.index
        if self._need.kind == "near":
            return self._span(seen) >= NEAR_SHARE
        column, row = np.floor(seen.pixels / self.size * CELLS).astype(int).T
        return int((row * CELLS + column == self._need.index).sum()) >= CELL_CORNERS

    def _steady(self, text: str, at_once: bool) -> str:
        """The words shown: other ones only after several looks that agree, or a capture."""
        self._next_looks = self._next_looks + 1 if text == self._next else 1
        self._next = text
        if at_once or not self._shown or self._next_looks >= STEADY_LOOKS:
            self._shown = text
        return self._shown
