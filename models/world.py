"""The world model at run time: observe, imagine, decode, on arrays with fixed buffers."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from models.backend import Session
from models.layout import GOAL_SIZE
from models.manifest import Manifest
from models.since import Senses, Since

Float32 = npt.NDArray[np.float32]
PERSON_FIELDS = ("seen", "x_m", "y_m", "sigma_m", "unseen_s")
UNSEEN_FULL_S = 5.0
NO_GOAL: Float32 = np.zeros(GOAL_SIZE, np.float32)


class Imagined(NamedTuple):
    """One imagined step of N beliefs; views, valid until the next call."""

    beliefs: Float32  # (N,B)
    senses: Float32  # (N,P+6): proprioception, then the window's mean IMU, normalised
    person: Float32  # (N,H,5) raw: see `World.people`
    bump: Float32  # (N,) probability
    near: Float32  # (N,S) 1 touching, 0 far; sectors counter-clockwise from straight ahead
    reward: Float32  # (N,) of the skill and goal asked


class World:
    """Wraps three sessions of one bundle; holds no clock and no robot."""

    def __init__(
        self, manifest: Manifest, observe: Session, imagine: Session, decode: Session
    ) -> None:
        self.manifest = manifest
        self.sessions = (observe, imagine, decode)
        self._observe = observe
        self._imagine = imagine
        self._decode = decode
        self._noise = np.random.default_rng(0)
        self.candidates = manifest.candidates
        self.belief: Float32 = np.zeros(manifest.belief, np.float32)
        # (P+6,) senses measured less those believed, of the newest observation
        self.innovation: Float32 = np.zeros(len(manifest.layout.proprio) + 6, np.float32)
        self._gumbels = manifest.groups * manifest.classes

    def reset(self, seed: int = 0) -> None:
        """Forget everything and reseed the imagination's noise."""
        self.belief[:] = 0
        self._noise = np.random.default_rng(seed)

    @property
    def frame_input(self) -> Float32:
        """(3,64,64) in 0..1: write the frame here before `observe`."""
        frame: Float32 = self._observe.inputs["frame"][0]
        return frame

    def observe(
        self, imu: Float32, proprio: Float32, odometry: float, action: Float32, mask: Float32
    ) -> dict[str, float]:
        """Fold what came since the last frame into `belief`.

        Args:
            imu: (5,6) window, normalised.
            proprio: (P,) newest senses.
            odometry: gyro yaw rate less the wheels' [rad/s].
            action: (A,) mean sent action.
            mask: (3,) which of frame, IMU and senses are there.

        Returns:
            The surprise channels that the graph itself measures (nats; normalised squares).
        """
        inputs = self._observe.inputs
        inputs["belief"][0] = self.belief
        inputs["imu"][0] = imu
        inputs["proprio"][0] = proprio
        inputs["odometry"][0, 0] = odometry
        inputs["action"][0] = action
        inputs["mask"][0] = mask
        self._observe.run()
        outputs = self._observe.outputs
        self.belief[:] = outputs["belief_out"][0]
        size = len(proprio)
        np.subtract(proprio, outputs["senses"][0, :size], out=self.innovation[:size])
        np.subtract(imu.mean(0), outputs["senses"][0, size:], out=self.innovation[size:])
        self.innovation[:size] *= mask[2]
        self.innovation[size:] *= mask[1]
        return {
            "divergence": float(outputs["divergence"][0, 0]),
            "imu_error": float(outputs["imu_error"][0, 0]),
            "rarity": float(outputs["rarity"][0, 0]),
        }

    def people(self) -> Float32:
        """(H,5) of the last observation: seen 0..1, x and y [m, base], sigma [m], unseen for [s]."""
        found: Float32 = person_fields(self._observe.outputs["person"])[0]
        return found

    def imagine(
        self,
        beliefs: Float32,
        action: Float32,
        skill: int = 0,
        goal: Float32 = NO_GOAL,
        draws: npt.NDArray[np.int64] | None = None,
    ) -> Imagined:
        """One sampled step of N beliefs (N,B) or (B,) under actions (N,A) or (A,).

        Rows with the same number in `draws` (N,) share their noise, so that they differ by what was
        done alone (common random numbers).
        """
        inputs = self._imagine.inputs
        inputs["belief"][...] = beliefs
        inputs["action"][...] = action
        inputs["skill"][...] = 0
        inputs["skill"][:, skill] = 1
        inputs["goal"][...] = goal
        noise, gumbels = inputs["noise"], self._gumbels
        exponential = self._noise.standard_exponential((len(noise), gumbels), np.float32)
        np.maximum(exponential, 1e-30, out=exponential)
        np.negative(np.log(exponential, out=exponential), out=noise[:, :gumbels])  # Gumbel(0, 1)
        normals = (len(noise), noise.shape[1] - gumbels)
        noise[:, gumbels:] = self._noise.standard_normal(normals, np.float32)
        if draws is not None:
            noise[...] = noise[draws]
        self._imagine.run()
        out = self._imagine.outputs
        person = out["person"].reshape(len(noise), -1, len(PERSON_FIELDS))
        return Imagined(
            out["belief_out"], out["senses"], person, out["bump"][:, 0], out["near"], out["reward"][:, 0]
        )  # fmt: skip

    def decode(self, belief: Float32, frame: Float32, since: Since) -> Float32:
        """The frame (3,64,64) in 0..1 that a belief (B,) expects; a view, valid until the next call.

        `frame` (3,64,64) is the last one seen, `since` what happened from it to the belief's time.
        """
        inputs = self._decode.inputs
        inputs["belief"][0] = belief
        inputs["frame"][0] = frame
        inputs["since"][0] = since.value
        self._decode.run()
        out: Float32 = self._decode.outputs["frame_out"][0]
        return out


def person_fields(raw: Float32) -> Float32:
    """Network outputs (N,H*5) or (N,H,5) -> (N,H,5) in the units of `PERSON_FIELDS`."""
    out: Float32 = raw.reshape(len(raw), -1, len(PERSON_FIELDS)).copy()
    out[..., 0] = 1 / (1 + np.exp(-out[..., 0]))
    out[..., 3] = np.exp(np.clip(out[..., 3], -4, 2))
    out[..., 4] = np.clip(out[..., 4], 0, 1) * UNSEEN_FULL_S
    return out


__all__ = ["Imagined", "Senses", "Since", "World", "person_fields"]
