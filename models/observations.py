"""Sequences of observations: what perception feeds to `observe`, recorded or made up, as arrays."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from models.arrays import read_npz
from models.errors import ModelError
from models.layout import IMU_SLICES, OBSERVE_MASKS
from models.manifest import Manifest

Float32 = npt.NDArray[np.float32]
Feed = dict[str, Float32]
FRAME = 64
GRID = 8  # cells a side of a made-up picture
PEOPLE = ("person_xy", "person_present", "person_seen")
PERIOD_STEPS = 20  # in which a made-up picture changes into the next


class ObservationError(ModelError):
    """A file holds no sequence of observations, or one of another body."""


@dataclass(frozen=True)
class Observations:
    """One sequence of T observations; action[t] was sent before observation t."""

    frame: npt.NDArray[np.uint8]  # (T,64,64,3)
    imu: Float32  # (T,5,6) normalised
    proprio: Float32  # (T,P) normalised
    odometry: Float32  # (T,) rad/s
    action: Float32  # (T,A)

    def __len__(self) -> int:
        return len(self.action)

    def feed(self, t: int, belief: Float32, noise: int) -> Feed:
        """The inputs of `observe` at step t, for a belief (B,) and no noise of that length."""
        return {
            "belief": belief.reshape(1, -1),
            "frame": picture(self.frame[t])[None],
            "imu": self.imu[t][None],
            "proprio": self.proprio[t][None],
            "odometry": self.odometry[t].reshape(1, 1),
            "action": self.action[t][None],
            "mask": np.ones((1, len(OBSERVE_MASKS)), np.float32),
            "noise": np.zeros((1, noise), np.float32),
        }

    def save(self, file: Path) -> None:
        """Write one .npz."""
        save: Any = np.savez_compressed  # its keyword arguments are both options and arrays
        save(file, **asdict(self))


def picture(frame: npt.NDArray[np.uint8]) -> Float32:
    """A frame (64,64,3) of bytes as the networks take it: (3,64,64) in 0..1."""
    out: Float32 = np.ascontiguousarray(frame.transpose(2, 0, 1), np.float32)
    out /= 255
    return out


def load(path: Path, manifest: Manifest) -> list[Observations]:
    """Sequences of a file or of a folder's .npz files; episodes of a training count as well.

    Raises:
        ObservationError: nothing there, or arrays of other shapes than the bundle's.
    """
    files = sorted(path.glob("*.npz")) if path.is_dir() else [path]
    found: list[Observations] = []
    for file in files:
        found += _sequences(file, read_npz(file, _keys()))
    if not found:
        raise ObservationError(f"{path} holds no .npz; give a folder of recorded observations")
    for one in found:
        _check_body(path, one, manifest)
    return found


def _check_body(path: Path, found: Observations, manifest: Manifest) -> None:
    shapes = (len(manifest.layout.proprio), len(manifest.layout.actions))
    have = (found.proprio.shape[-1], found.action.shape[-1])
    if have != shapes:
        raise ObservationError(
            f"{path} has {have[0]} senses and {have[1]} actions, the bundle {shapes[0]} and "
            f"{shapes[1]}; record on the bundle's body"
        )


def _keys() -> tuple[str, ...]:
    return tuple(Observations.__dataclass_fields__)


def _sequences(file: Path, arrays: dict[str, npt.NDArray[Any]]) -> list[Observations]:
    missing = [k for k in _keys() if k not in arrays]
    if missing:
        raise ObservationError(
            f"{file} has no {', '.join(missing)}; it is no record of observations"
        )
    many = arrays["action"].ndim == 3  # episodes of a training
    _check_shapes(file, arrays, arrays["action"].shape[: 2 if many else 1])
    count = len(arrays["action"]) if many else 1
    return [
        _sequence({k: v[i] for k, v in arrays.items()} if many else arrays) for i in range(count)
    ]


def _check_shapes(file: Path, arrays: dict[str, npt.NDArray[Any]], many: tuple[int, ...]) -> None:
    ends = {"frame": (FRAME, FRAME, 3), "imu": (IMU_SLICES, 6), "odometry": ()}
    ends |= {k: array.shape[len(many) :] for k, array in arrays.items() if k in PEOPLE}
    for key, array in arrays.items():
        asked = (*many, *ends.get(key, array.shape[-1:]))
        if array.shape != asked:
            raise ObservationError(
                f"{file}: {key} is {array.shape}, beside its actions it would be {asked}; record again"
            )


def _sequence(row: dict[str, Any]) -> Observations:
    return Observations(**{k: v if k == "frame" else v.astype(np.float32) for k, v in row.items()})


def smooth(manifest: Manifest, steps: int, seed: int) -> Observations:
    """A made-up sequence: pictures of soft colours that flow into one another, senses that drift."""
    rng = np.random.default_rng([seed, 0x5E0])
    a, p = len(manifest.layout.actions), len(manifest.layout.proprio)
    return Observations(
        frame=_pictures(rng, steps),
        imu=_drifting(rng, steps, IMU_SLICES * 6).reshape(steps, IMU_SLICES, 6) * np.float32(0.3),
        proprio=_drifting(rng, steps, p) * np.float32(0.5),
        odometry=_drifting(rng, steps, 1)[:, 0] * np.float32(0.1),
        action=np.clip(_drifting(rng, steps, a), -1, 1),
    )


def _pictures(rng: np.random.Generator, steps: int) -> npt.NDArray[np.uint8]:
    count = steps // PERIOD_STEPS + 2
    fields = rng.random((count, GRID, GRID, 3))
    at = (np.arange(FRAME) + 0.5) / FRAME * (GRID - 1)
    low = np.minimum(at.astype(int), GRID - 2)
    share = at - low
    rows = fields[:, low] * (1 - share)[:, None, None] + fields[:, low + 1] * share[:, None, None]
    wide = rows[:, :, low] * (1 - share)[:, None] + rows[:, :, low + 1] * share[:, None]
    out = np.empty((steps, FRAME, FRAME, 3), np.uint8)
    for t in range(steps):
        k, part = t // PERIOD_STEPS, t % PERIOD_STEPS / PERIOD_STEPS
        out[t] = np.rint((wide[k] * (1 - part) + wide[k + 1] * part) * 255)
    return out


def _drifting(rng: np.random.Generator, steps: int, size: int) -> Float32:
    """Numbers of spread 1 that keep nine tenths of themselves from step to step."""
    out = np.zeros((steps, size), np.float32)
    value = rng.normal(0, 1, size)
    for t in range(steps):
        value = 0.9 * value + np.sqrt(1 - 0.81) * rng.normal(0, 1, size)
        out[t] = value
    return out


@dataclass(frozen=True)
class Episode:
    """Observations and who really was where (T,H,...), in the base frame [m]."""

    observations: Observations
    person_xy: Float32  # (T,H,2)
    person_present: Float32  # (T,H)
    person_seen: Float32  # (T,H)


def load_episodes(path: Path, count: int, manifest: Manifest) -> list[Episode]:
    """Up to `count` episodes of a training's .npz files, which hold what the truth was.

    Raises:
        ObservationError: nothing there, or arrays of other shapes than the bundle's.
    """
    out: list[Episode] = []
    keys = [*_keys(), *PEOPLE]
    for file in sorted(path.glob("*.npz")):
        arrays = read_npz(file, keys)
        missing = [k for k in keys if k not in arrays]
        if missing or arrays["action"].ndim != 3:
            raise ObservationError(
                f"{file} has no {', '.join(missing) or 'episodes'}; give episodes of a training"
            )
        _check_shapes(file, arrays, arrays["action"].shape[:2])
        for i in range(min(len(arrays["action"]), count - len(out))):
            row = {k: v[i] if k == "frame" else v[i].astype(np.float32) for k, v in arrays.items()}
            seen = {k: row.pop(k) for k in PEOPLE}
            out.append(Episode(Observations(**row), **seen))
            _check_body(file, out[-1].observations, manifest)
        if len(out) == count:
            return out
    if not out:
        raise ObservationError(f"{path} holds no .npz; give a folder of episodes")
    return out
