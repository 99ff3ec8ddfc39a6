"""A video as turn rates: every frame against the one before, with the lens known or fitted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from calibration.errors import DataError
from calibration.rate_alignment import Alignment, Rates, align
from calibration.rate_judge import Seen
from runtime.errors import ConfigError
from tools.calibrate.finish import Step

Floats = npt.NDArray[np.float64]
WIDEST_PX = 960  # larger pictures are made smaller: rotation needs no more
FEWEST = 60
CUT_SHARE, WHOLE_SHARE = 0.2, 0.6  # of the corners followed at a cut, and beside it


def read_lens(path: Path) -> Any:
    """The lens of a camera verdict (`--out` of `calibrate camera solve`), at its own image size."""
    from calibration.visual_rotation import Lens

    try:
        found = msgspec.json.decode(path.read_bytes())["result"]
        matrix = np.asarray(found["camera_matrix"], float).reshape(3, 3)
        distortion = np.asarray(found["distortion"], float).ravel()
        size = tuple(int(v) for v in found["image_size"])
    except (OSError, msgspec.DecodeError, KeyError, TypeError, ValueError) as error:
        raise ConfigError(
            f"--calibration {path} holds no camera_matrix, distortion and image_size"
            f" ({type(error).__name__}); give what `calibrate camera solve --out` wrote"
        ) from error
    return Lens(matrix, distortion), size


def video_rates(
    path: Path, lens: Any, gyro_t_s: Floats, gyro: Floats
) -> tuple[Rates, Seen, Alignment]:
    """Turn rates of a video [rad/s], what was seen of it, and its alignment with the gyro."""
    from calibration.visual_rotation import Lens

    times_s, tracks, size = _tracks(path)
    if lens is not None:
        known, of_size = lens
        if abs(of_size[0] / of_size[1] - size[0] / size[1]) > 0.01:
            raise ConfigError(f"the calibration is of {of_size[0]}x{of_size[1]}, the video {size[0]}x{size[1]}: other shapes; calibrate in the video's mode")  # fmt: skip
        factor = size[0] / of_size[0]
        matrix = known.matrix * np.array([[factor], [factor], [1]])
        used = Lens(matrix, known.distortion)
    else:
        used = Lens.guess(*size)
    rates, lost, cuts = _rates(times_s, tracks, used)
    found = align(rates, gyro_t_s, gyro)
    for _ in range(
        2 if lens is None else 0
    ):  # what turns too much is seen through too short a lens
        if not 0.6 < found.whole.scale < 1.7:
            break
        used = used.scaled(found.whole.scale)
        rates, lost, cuts = _rates(times_s, tracks, used)
        found = align(rates, gyro_t_s, gyro)
    return rates, Seen(lost, cuts, lens is not None), found


def _tracks(path: Path) -> tuple[Floats, list[Any], tuple[int, int]]:
    """(F,) frame times [s], F - 1 tracks between frames, (width, height) as tracked."""
    import cv2

    from calibration.visual_rotation import follow

    if not path.is_file():
        raise DataError(f"no video {path}")
    video = cv2.VideoCapture(str(path))
    fps = video.get(cv2.CAP_PROP_FPS)
    step = Step("frames", max(int(video.get(cv2.CAP_PROP_FRAME_COUNT)), 1))
    times_s, tracks, before, size = [], [], None, (0, 0)
    while True:
        good, frame = video.read()
        if not good:
            break
        times_s.append(video.get(cv2.CAP_PROP_POS_MSEC) / 1e3)
        scale = min(1.0, WIDEST_PX / frame.shape[1])
        gray = cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY)
        gray = (
            cv2.resize(gray, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
            if scale < 1
            else gray
        )
        size = (gray.shape[1], gray.shape[0])
        if before is not None:
            tracks.append(follow(before, gray))
        before = gray
        step()
    video.release()
    if len(times_s) < FEWEST:
        raise DataError(f"{path}: {len(times_s)} frames read, at least {FEWEST} needed; is it a video of 30 s?")  # fmt: skip
    stamps = np.array(times_s)
    if (np.diff(stamps) <= 0).any():  # some containers tell no times of frames
        stamps = np.arange(len(stamps)) / (fps if fps > 1 else 30.0)
    return stamps, tracks, size


def _rates(times_s: Floats, tracks: list[Any], lens: Any) -> tuple[Rates, float, tuple[float, ...]]:
    """Rates where a rotation was found, the share where none was, times of cuts [s]."""
    from calibration.visual_rotation import rotation

    turns = np.array([rotation(t, lens)[0] for t in tracks])
    share = np.array([len(t.before) / max(t.wanted, 1) for t in tracks])
    beside = np.minimum(np.roll(share, 1), np.roll(share, -1))
    cut = (share < CUT_SHARE) & (beside > WHOLE_SHARE)
    good = np.isfinite(turns).all(axis=1) & ~cut
    if good.sum() < FEWEST - 1:
        raise DataError(
            f"{int(good.sum())} of {len(good)} frames have corners that can be followed, {FEWEST - 1} needed;"
            " record before a wall with texture, in good light, turning more slowly"
        )
    width = np.diff(times_s)
    rates = Rates(times_s[:-1], times_s[1:], turns / width[:, None]).part(good)
    cuts = tuple(float(t) for t in times_s[1:][cut])
    return rates, float(1 - good.mean()), cuts
