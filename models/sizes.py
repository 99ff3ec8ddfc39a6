"""Sizes of the networks; known without torch, for a manifest declares them."""

from __future__ import annotations

from dataclasses import dataclass

# Of a person's slot, in the base frame: place (x, y) [m], velocity in the room (x, y) [m/s].
MOTION = 4


@dataclass(frozen=True)
class Sizes:
    """Sizes of the networks; training heads know `hues` of people and `sectors` around the body."""

    action: int
    proprio: int
    skills: int
    deter: int = 240
    groups: int = 16
    classes: int = 16
    normal: int = 32
    embed: int = 208
    hidden: int = 208
    hues: int = 6
    memory: int = 28  # of one person's slot, beside its motion
    sectors: int = 12
    unimix: float = 0.01
    view: tuple[float, float, float, float] = (46.0, 46.0, 31.5, 31.5)  # fx, fy, cx, cy [px]

    @property
    def onehot(self) -> int:
        """Length of the flattened categorical part."""
        return self.groups * self.classes

    @property
    def stoch(self) -> int:
        """Length of the stochastic part: categorical, then continuous."""
        return self.onehot + self.normal

    @property
    def core(self) -> int:
        """Length of the belief's recurrent state-space part."""
        return self.deter + self.stoch

    @property
    def slot(self) -> int:
        """Length of one person's slot."""
        return self.memory + MOTION

    @property
    def belief(self) -> int:
        """Length of the belief vector: the core, then a slot for every hue."""
        return self.core + self.hues * self.slot
