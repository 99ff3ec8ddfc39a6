"""run.html: one self-contained file that opens without a server or a network."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from runtime.camera import import_cv2
from runtime.channels import FRAME_PX
from runtime.log import Arrays
from runtime.surprise import SURPRISE_CHANNELS
from tools.compose import Setup
from tools.report import start_ns, write_whole

TEMPLATE = Path(__file__).parent / "report.html"
MAX_FRAMES = 400
COLUMNS = 20


def write_html(path: Path, setup: Setup, records: Arrays, report: dict[str, Any]) -> None:
    """Write the page of a finished run beside its place and rename it there."""
    zero = start_ns(records, setup.has_body)
    data = {
        "report": report,
        "frames": _frames(records, zero),
        "path": _path(records, zero),
        "surprise": _surprise(records, zero),
        "ticks": _histogram(report, records),
        "robot": f"{setup.body.name}",
    }
    text = json.dumps(data, allow_nan=False).replace("</", "<\\/")
    page = TEMPLATE.read_text().replace("/*DATA*/null", text)
    write_whole(path, page)


def _frames(records: Arrays, zero: int) -> dict[str, Any]:
    """Two sprite sheets (seen, expected), at most MAX_FRAMES tiles each, with their times."""
    seen = records.get("frame")
    if seen is None or not len(seen):
        return {"count": 0}
    step = -(-len(seen) // MAX_FRAMES)
    chosen = seen[::step]
    by_number = {}
    expected = records.get("expected")
    if expected is not None:
        by_number = {int(n): p for n, p in zip(expected["number"], expected["pixels"], strict=True)}
    blank = np.full((FRAME_PX, FRAME_PX, 3), 40, np.uint8)
    wanted = [by_number.get(int(n), blank) for n in chosen["number"]]
    return {
        "count": len(chosen),
        "columns": COLUMNS,
        "size": FRAME_PX,
        "t_s": np.round((chosen["t_ns"] - zero) / 1e9, 2).tolist(),
        "seen": _sheet(list(chosen["pixels"])),
        "expected": _sheet(wanted),
    }


def _sheet(tiles: list[npt.NDArray[np.uint8]]) -> str:
    """Tiles row by row in one JPEG, as a data URL."""
    cv2 = import_cv2()
    rows = -(-len(tiles) // COLUMNS)
    sheet = np.zeros((rows * FRAME_PX, COLUMNS * FRAME_PX, 3), np.uint8)
    for i, tile in enumerate(tiles):
        y, x = i // COLUMNS * FRAME_PX, i % COLUMNS * FRAME_PX
        sheet[y : y + FRAME_PX, x : x + FRAME_PX] = tile
    _, data = cv2.imencode(".jpg", sheet[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, 88])
    return "data:image/jpeg;base64," + base64.b64encode(bytes(data)).decode()


def _path(records: Arrays, zero: int) -> dict[str, Any]:
    truth = records.get("truth")
    if truth is None or not len(truth):
        return {}
    rows = truth[:: max(1, len(truth) // 600)]
    return {
        "t_s": np.round((rows["t_ns"] - zero) / 1e9, 2).tolist(),
        "robot": np.round(np.stack([rows["x_m"], rows["y_m"], rows["yaw_rad"]], 1), 3).tolist(),
        "person": np.round(rows["person_xy_m"].astype(float), 3).tolist(),
        "seen": (rows["person_px"] >= 20).astype(int).tolist(),
        "bump": rows["bump"].astype(int).tolist(),
    }


def _surprise(records: Arrays, zero: int) -> dict[str, Any]:
    rows = records.get("surprise")
    if rows is None or not len(rows):
        return {}
    rows = rows[:: max(1, len(rows) // 800)]
    values = rows["value"].astype(float)
    return {
        "t_s": np.round((rows["t_ns"] - zero) / 1e9, 2).tolist(),
        "channels": {
            name: [None if not np.isfinite(v) else round(float(v), 5) for v in values[:, i]]
            for i, name in enumerate(SURPRISE_CHANNELS)
        },
        "above": rows["above"].tolist(),
    }


def _histogram(report: dict[str, Any], records: Arrays) -> dict[str, Any]:
    ticks = records.get("tick")
    if ticks is None or not len(ticks) or not ticks["tick_wall_us"].any():
        return {}
    edges = np.array([0, 50, 100, 150, 200, 300, 400, 600, 800, 1200, 2000, 4000, 8000, 1e9])
    counts, _ = np.histogram(ticks["tick_wall_us"], edges)
    return {
        "edges_us": edges[:-1].tolist(),
        "counts": counts.tolist(),
        "tick_us": report["tick_us"],
    }
