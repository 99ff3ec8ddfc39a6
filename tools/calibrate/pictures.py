"""Where views of a board come from: a folder of pictures, a video, or corners somebody else found."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from calibration.board import Board
from calibration.bundle_adjustment import View
from calibration.corners import Detection, detect, other_size, require_same_size
from calibration.errors import DataError
from runtime.camera import import_cv2
from runtime.errors import ConfigError
from tools.calibrate.finish import Step

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".pgm", ".ppm")
VIDEO_LOOKS = 200  # frames of a video that are searched for the board
MOST_VIEWS = 60  # more say nothing new
SAME_PX = 1.0  # corners that moved less than this, on average, are the same view
BLURRED_PX = 3.5  # width of an edge, in a picture 640 wide
PIXEL_COLUMNS = (("img_loc_x", "img_loc_y"), ("u", "v"), ("u_px", "v_px"), ("x_px", "y_px"), ("x", "y"))  # fmt: skip
BOARD_COLUMNS = (("obj_loc_x", "obj_loc_y", "obj_loc_z"), ("X", "Y", "Z"), ("X_m", "Y_m", "Z_m"), ("X_mm", "Y_mm", "Z_mm"), ("board_x", "board_y", "board_z"))  # fmt: skip
VIEW_COLUMNS = ("view", "image", "filename", "frame", "sync_index", "frame_index")
CAMERA_COLUMNS = ("port", "cam_id", "camera")


@dataclass
class Views:
    """Views of one board by one camera, and what was odd about them."""

    views: list[View]
    size: tuple[int, int]
    files: list[Path]
    looked: int
    inverted: int = 0
    mirrored: int = 0
    blurred: list[str] = field(default_factory=list)
    alike: int = 0
    instead: tuple[int, int] | None = None  # another size of chessboard that was seen
    sample: npt.NDArray[np.uint8] | None = None  # a picture for the report


def read_pictures(source: Path, board: Board, window_px: int = 0) -> Views:
    """Seek the board in every picture of a folder, or in frames of a video."""
    if source.is_dir():
        files = sorted(f for f in source.iterdir() if f.suffix.lower() in SUFFIXES)
        if not files:
            raise ConfigError(
                f"--images {source}: no pictures in it ({', '.join(SUFFIXES)}); give the folder they are in"
            )
        pictures: Iterator[tuple[str, npt.NDArray[np.uint8]]] = _files(files)
        count = len(files)
    elif source.is_file():
        files = [source]
        count, pictures = _video(source)
    else:
        raise ConfigError(f"--images {source}: no such folder or video")
    return _searched(pictures, count, board, window_px, files)


def _searched(
    pictures: Iterator[tuple[str, npt.NDArray[np.uint8]]],
    count: int,
    board: Board,
    window_px: int,
    files: list[Path],
) -> Views:
    found: list[tuple[str, Detection]] = []
    shapes: list[tuple[int, int]] = []
    names: list[str] = []
    step = Step("looking for the board", count)
    sample: npt.NDArray[np.uint8] | None = None
    for name, image in pictures:
        shapes.append((image.shape[0], image.shape[1]))
        names.append(name)
        seen = detect(image, board, window_px)
        if seen is not None:
            found.append((name, seen))
        if sample is None or (seen is not None and len(found) == 1):
            sample = image
        step()
    size = require_same_size(shapes, names)
    out = _kept(found, board, size)
    out.files, out.looked, out.sample = files, len(names), sample
    if not found and sample is not None:
        out.instead = other_size(sample, board)
    return out


def _kept(found: list[tuple[str, Detection]], board: Board, size: tuple[int, int]) -> Views:
    """Without blurred and repeated views, and at most MOST_VIEWS of them."""
    blur = BLURRED_PX * max(0.6, size[0] / 640)
    sharp = [(n, d) for n, d in found if d.edge_px <= blur]
    blurred = [n for n, d in found if d.edge_px > blur]
    if len(sharp) < 5 <= len(found):  # all of it is soft: judge what there is
        sharp, blurred = found, []
    views = [View(n, board.points[d.ids], d.pixels) for n, d in sharp]
    chosen = spread(views, MOST_VIEWS)
    return Views(
        views=[views[i] for i in chosen],
        size=size,
        files=[],
        looked=len(found),
        inverted=sum(d.inverted for _, d in sharp),
        mirrored=sum(d.mirrored for _, d in sharp),
        blurred=blurred,
        alike=len(views) - len(chosen),
    )


def spread(views: list[View], most: int) -> list[int]:
    """Indices of views that differ, farthest first, in their order; repeated ones are left out."""
    if not views:
        return []
    marks = np.array([_mark(v) for v in views])
    chosen = [0]
    apart = np.linalg.norm(marks - marks[0], axis=1)
    while len(chosen) < most and apart.max() > SAME_PX:
        chosen.append(int(apart.argmax()))
        apart = np.minimum(apart, np.linalg.norm(marks - marks[chosen[-1]], axis=1))
    return sorted(chosen)


def _mark(view: View) -> npt.NDArray[np.float64]:
    """Where a view's board lies in the picture: the affine image of a fixed square (6,) [px]."""
    flat = np.concatenate([view.points[:, :2], np.ones((len(view.points), 1))], axis=1)
    scale = max(float(np.ptp(view.points[:, :2], axis=0).max()), 1e-9)
    affine = np.linalg.lstsq(flat / [scale, scale, 1], view.pixels, rcond=None)[0]
    return np.asarray(affine.ravel())


def _files(files: list[Path]) -> Iterator[tuple[str, npt.NDArray[np.uint8]]]:
    cv2 = import_cv2()
    for file in files:
        image = cv2.imdecode(np.frombuffer(file.read_bytes() or b"\0", np.uint8), cv2.IMREAD_COLOR)
        if image is None:
            raise DataError(f"{file} is no picture that can be read; take it out of the folder")
        yield file.name, image


def _video(file: Path) -> tuple[int, Iterator[tuple[str, npt.NDArray[np.uint8]]]]:
    cv2 = import_cv2()
    video = cv2.VideoCapture(str(file))
    if not video.isOpened():
        raise DataError(
            f"{file} is no video that can be read; give a video, or a folder of pictures"
        )
    total = int(video.get(cv2.CAP_PROP_FRAME_COUNT))
    every = max(1, total // VIDEO_LOOKS)

    def frames() -> Iterator[tuple[str, npt.NDArray[np.uint8]]]:
        number = 0
        try:
            while video.grab():
                if number % every == 0:
                    ok, image = video.retrieve()
                    if ok:
                        yield f"frame {number}", image
                number += 1
        finally:
            video.release()
        if not number:
            raise DataError(f"{file} holds no frames")

    return max(1, -(-total // every)), frames()


def read_points(file: Path, size: tuple[int, int], camera: str = "") -> Views:
    """Corners found elsewhere: a CSV with a view, the board's and the picture's coordinates."""
    try:
        with file.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.DictReader(stream)
            head = [h.strip() for h in reader.fieldnames or []]
            reader.fieldnames = head
            rows = list(reader)
    except UnicodeDecodeError as error:
        raise DataError(f"{file} is no CSV of text: {error.reason}") from error
    view, pixel, board = _columns(file, head)
    rows = _of_camera(file, head, rows, camera)
    grouped: dict[str, list[list[float]]] = {}
    for number, row in enumerate(rows, 2):
        try:
            values = [float(row[c]) if c in head else 0.0 for c in (*board, *pixel)]
        except (TypeError, ValueError) as error:
            raise DataError(f"{file}, line {number}: {error}; every point needs numbers") from error
        if np.isfinite(values).all():
            grouped.setdefault(str(row[view]), []).append(values)
    views = [
        View(name, np.array(v)[:, :3] * _metres(board[0]), np.array(v)[:, 3:])
        for name, v in grouped.items()
        if len(v) >= 6
    ]
    outside = sum(int(((v.pixels < -1) | (v.pixels > size)).any(1).sum()) for v in views)
    if outside:
        raise DataError(
            f"{file}: {outside} points lie outside a picture of {size[0]}x{size[1]}; give the right --size"
        )
    chosen = spread(views, MOST_VIEWS)
    return Views(
        [views[i] for i in chosen], size, [file], len(grouped), alike=len(views) - len(chosen)
    )


def _metres(column: str) -> float:
    return 1e-3 if column.endswith("_mm") else 1.0


def _columns(file: Path, head: list[str]) -> tuple[str, tuple[str, ...], tuple[str, ...]]:
    view = next((c for c in VIEW_COLUMNS if c in head), None)
    pixel = next((p for p in PIXEL_COLUMNS if set(p) <= set(head)), None)
    board = next((b for b in BOARD_COLUMNS if set(b[:2]) <= set(head)), None)
    if view is None or pixel is None or board is None:
        raise DataError(
            f"{file}: columns {', '.join(head) or 'none'}; needed are one of {', '.join(VIEW_COLUMNS)}, the"
            " board's X, Y (or X_mm, Y_mm; Z where it is not flat) and the picture's u, v [px]"
        )
    return view, pixel, board


def _of_camera(
    file: Path, head: list[str], rows: list[dict[str, str]], camera: str
) -> list[dict[str, str]]:
    column = next((c for c in CAMERA_COLUMNS if c in head), None)
    known = sorted({row[column] for row in rows}) if column else []
    if camera and camera not in known:
        raise ConfigError(
            f"--camera-id {camera}: {file} has {', '.join(known) or 'one camera without a name'}"
        )
    if len(known) > 1 and not camera:
        raise ConfigError(f"{file} holds cameras {', '.join(known)}; choose one with --camera-id")
    return [row for row in rows if not camera or row[column or ""] == camera]
