"""A folder of pictures that `calibrate camera record` made: what it is of, and how it goes on later."""

from __future__ import annotations

import os
import time
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt

from runtime.camera import import_cv2
from runtime.errors import ConfigError, RuntimeFault
from tools.report import write_whole

FILE = "record.json"


class Recording(msgspec.Struct, frozen=True, kw_only=True):
    """What stands in `record.json`."""

    schema: int = 1
    tool: str = "camera"
    board: str
    serial: str  # of the camera; empty for a video, which does not say
    camera: str  # twin, a device or a video
    body: str  # whose camera it is
    size: tuple[int, int]  # width, height [px]
    date: str  # ISO 8601, UTC, of the first picture


def recording_of(folder: Path) -> Recording | None:
    """What a folder was recorded as; None where it is somebody's own pictures."""
    file = folder / FILE
    if not file.is_file():
        return None
    try:
        return msgspec.json.decode(file.read_bytes(), type=Recording)
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        raise ConfigError(
            f"{file} cannot be read ({error}); give --board and move it away, or record again"
        ) from error


def present(folder: Path) -> Recording | None:
    """The recording that would go on in `folder`; ConfigError where it holds something else."""
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"--out {folder} is a file; give a new folder")
    found = recording_of(folder)
    if found is None and folder.is_dir() and any(not n.startswith(".") for n in os.listdir(folder)):
        raise ConfigError(
            f"--out {folder} holds other files and no {FILE}; give a new or an empty folder"
        )
    return found


class Album:
    """The pictures of one recording, whole or not there."""

    def __init__(self, folder: Path, made: Recording) -> None:
        """Go on with what is there, or begin; ConfigError where it is of something else."""
        self.folder = folder
        there = present(folder)
        if there is None:
            date = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
            made = msgspec.structs.replace(made, date=date)
            content = msgspec.json.format(msgspec.json.encode(made), indent=2)
            write_whole(folder / FILE, content + b"\n")
        else:
            _require_same(folder, there, made)
        self.files = sorted(folder.glob("view_*.png"))

    def pictures(self) -> list[npt.NDArray[np.uint8]]:
        """(H, W, 3) BGR, what was taken before."""
        cv2 = import_cv2()
        out = []
        for file in self.files:
            image = cv2.imdecode(np.frombuffer(file.read_bytes() or b"\0", np.uint8), cv2.IMREAD_COLOR)  # fmt: skip
            if image is None:
                raise ConfigError(f"{file} is no picture that can be read; delete it")
            out.append(image)
        return out

    def add(self, image: npt.NDArray[np.uint8]) -> None:
        """Keep one picture, as the camera gave it; RuntimeFault when the disk is full."""
        number = int(self.files[-1].stem.split("_")[1]) + 1 if self.files else 0
        _, png = import_cv2().imencode(".png", image)
        file = self.folder / f"view_{number:03d}.png"
        try:
            write_whole(file, png.tobytes())
        except RuntimeFault as error:
            raise RuntimeFault(f"{error}; {len(self.files)} views are kept, the same command goes on with them") from error  # fmt: skip
        self.files.append(file)


def _require_same(folder: Path, there: Recording, asked: Recording) -> None:
    for what in ("board", "serial", "size"):
        old, new = getattr(there, what), getattr(asked, what)
        if old != new:
            old, new = (f"{v[0]}x{v[1]}" if what == "size" else v or "none" for v in (old, new))
            raise ConfigError(
                f"--out {folder} holds pictures with {what} {old}, asked is {new}; give another folder"
            )
