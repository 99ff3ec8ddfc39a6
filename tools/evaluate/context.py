"""What an episode gives to predict from: every observation, the belief after it, and the truth."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from models.world import World
from tools.train.labels import Labeller
from tools.twin.scene import HUES
from tools.twin.twin import Twin

Float32 = npt.NDArray[np.float32]


class WatchedWorld(World):
    """A world model that keeps what it was fed and what it made of it."""

    def __init__(self, world: World) -> None:
        super().__init__(world.manifest, *world.sessions)
        self.seen: dict[str, list[Any]] = {}

    def observe(
        self, imu: Float32, proprio: Float32, odometry: float, action: Float32, mask: Float32
    ) -> dict[str, float]:
        """See `World`."""
        out = super().observe(imu, proprio, odometry, action, mask)
        kept = {
            "frame": np.rint(self.frame_input * 255).astype(np.uint8),
            "imu": imu.copy(),
            "proprio": proprio.copy(),
            "action": action.copy(),
            "belief": self.belief.copy(),
            "people": self.people().copy(),
            "innovation": self.innovation.copy(),
            "odometry": odometry,
            **out,
        }
        for key, value in kept.items():
            self.seen.setdefault(key, []).append(value)
        return out


class Context:
    """Joins observations and truth by frame number: frame n is the n-th rendered and observed."""

    def __init__(self) -> None:
        self._labeller = Labeller()
        self._truth: list[dict[str, Any]] = []
        self._world: WatchedWorld | None = None

    def watch(self, world: World) -> WatchedWorld:
        """Stand between perception and its world model."""
        self._world = WatchedWorld(world)
        return self._world

    def rendered(self, twin: Twin) -> None:
        """Note the truth of a rendered frame."""
        labels = self._labeller(twin)
        keys = ("person_seen", "person_present", "person_xy", "person_since", "bump")
        hue = list(HUES).index(twin.scene.people[0].look.hue)
        row = {"pose": np.array(twin.pose()), "target_hue": np.int64(hue)}
        self._truth.append({**{k: labels[k] for k in keys}, **row})

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Everything by frame, (T,...)."""
        assert self._world is not None
        seen = self._world.seen
        count = min(len(self._truth), len(seen.get("belief", [])))
        out = {key: np.stack(value[:count]) for key, value in seen.items()}
        for key in self._truth[0]:
            out[key] = np.stack([row[key] for row in self._truth[:count]])
        return out
