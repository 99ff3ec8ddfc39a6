"""How hard a scene is: how many things stand and walk in the room, and how the person moves."""

from __future__ import annotations

from dataclasses import dataclass

from tools.twin.domain import NOMINAL, VARIED, Domain


@dataclass(frozen=True, slots=True)
class Scenario:
    """Ranges from which a seed draws one scene; counts are inclusive."""

    obstacles: tuple[int, int] = (2, 6)  # low furniture, the camera sees over it
    occluders: tuple[int, int] = (1, 2)  # up to the ceiling: thin pillars, or screens
    distractors: tuple[int, int] = (0, 2)  # people with another shirt hue
    person_speed_m_s: tuple[float, float] = (0.2, 0.55)
    start_distance_m: tuple[float, float] = (1.0, 2.2)
    start_bearing_rad: float = 0.4  # the person starts within this of straight ahead
    start_hidden: float = 0.0  # probability to start out of view, or behind a screen
    desired_distance_m: float = 1.2
    screens: float = 0.0  # share of occluders that are wide; above 0 the first one is
    stops_1_s: float = 0.0  # sudden stops per second of walking
    turns_1_s: float = 0.0  # sharp turns per second of walking
    hides: float = 0.0  # share of waypoints that lie behind a screen
    stop_s: tuple[float, float] = (1.0, 3.0)  # how long a stop lasts, and a stay behind a screen
    domain: Domain = NOMINAL


EMPTY = Scenario(obstacles=(0, 0), occluders=(0, 0), distractors=(0, 0))
EASY = Scenario(occluders=(0, 0), distractors=(0, 0))
OPEN = Scenario(occluders=(0, 0), distractors=(0, 0), domain=VARIED)
HARD = Scenario(
    occluders=(1, 3),
    distractors=(1, 2),
    person_speed_m_s=(0.2, 0.65),
    start_distance_m=(1.0, 2.6),
    screens=0.5,
    stops_1_s=0.06,
    turns_1_s=0.12,
    hides=0.12,
    stop_s=(0.5, 1.5),
    domain=VARIED,
)
