"""How hard a scene is: how many things stand and walk in the room, and how the person moves."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Scenario:
    """Ranges from which a seed draws one scene; counts are inclusive."""

    obstacles: tuple[int, int] = (2, 6)  # low furniture, the camera sees over it
    occluders: tuple[int, int] = (1, 2)  # thin pillars up to the ceiling
    distractors: tuple[int, int] = (0, 2)  # people with another shirt hue
    person_speed_m_s: tuple[float, float] = (0.2, 0.55)
    start_distance_m: tuple[float, float] = (1.0, 2.2)
    start_bearing_rad: float = 0.4  # the person starts within this of straight ahead
    desired_distance_m: float = 1.2


EASY = Scenario(obstacles=(0, 0), occluders=(0, 0), distractors=(0, 0))
