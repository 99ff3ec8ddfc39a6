"""The world model at run time: observe, imagine, decode, on arrays with fixed buffers."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from models.backend import Session
from models.manifest import Manifest

Float32 = npt.NDArray[np.float32]


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
        self, imu: Float32, proprio: Float32, action: Float32, mask: Float32
    ) -> dict[str, float]:
        """Fold the newest frame, IMU window (5,6), senses (P,), mean sent action (A,) into `belief`.

        Returns the surprise channels that the graph itself measures (nats; normalised squares).
        """
        inputs = self._observe.inputs
        inputs["belief"][0] = self.belief
        inputs["imu"][0] = imu
        inputs["proprio"][0] = proprio
        inputs["action"][0] = action
        inputs["mask"][0] = mask
        self._observe.run()
        outputs = self._observe.outputs
        self.belief[:] = outputs["belief_out"][0]
        return {
            "divergence": float(outputs["divergence"][0, 0]),
            "imu_error": float(outputs["imu_error"][0, 0]),
            "rarity": float(outputs["rarity"][0, 0]),
        }

    def imagine(self, beliefs: Float32, action: Float32) -> tuple[Float32, Float32]:
        """One sampled step of N beliefs (N,B) under actions (A,) or (N,A).

        Returns views of beliefs (N,B) and bump probability (N,): valid until the next call.
        """
        inputs = self._imagine.inputs
        inputs["belief"][...] = beliefs
        inputs["action"][...] = action
        uniform = self._noise.random(inputs["noise"].shape, np.float32)
        np.clip(uniform, 1e-7, 1 - 1e-7, out=uniform)
        inputs["noise"][...] = -np.log(-np.log(uniform))  # Gumbel(0, 1)
        self._imagine.run()
        outputs = self._imagine.outputs
        return outputs["belief_out"], outputs["bump"][:, 0]

    def decode(self, belief: Float32) -> Float32:
        """The frame (3,64,64) in 0..1 that a belief (B,) expects; a view, valid until the next call."""
        self._decode.inputs["belief"][0] = belief
        self._decode.run()
        frame: Float32 = self._decode.outputs["frame"][0]
        return frame
