"""Who is lost from view, and who only stands behind something for a moment."""

import numpy as np
import pytest

from models.layout import goal_vector
from runtime.sight import LOST_NS, Sight, nearest_hue

HUES = {"red": 0.0, "green": 0.35, "blue": 0.64}
GREEN = goal_vector(distance_m=1.2, appearance=(0.1, 0.8, 0.15))
FRAME_NS = 50_000_000


def people(seen: float, sigma_m: float = 0.03, other: float = 1.0) -> np.ndarray:
    """Of three hues green has these; all others are in plain view."""
    rows = np.tile(np.array([other, 1.0, 0.0, 0.03, 0.0], np.float32), (3, 1))
    rows[1, 0], rows[1, 3] = seen, sigma_m
    return rows


def after(sight: Sight, seconds: float, row: np.ndarray, goal: np.ndarray = GREEN) -> bool:
    start = sight._seen_ns
    for k in range(1, round(seconds * 20) + 1):
        sight.step(start + k * FRAME_NS, row, goal)
    return sight.lost


@pytest.mark.parametrize(("seen", "sigma_m", "lost"), [(0.1, 0.03, True), (0.9, 0.8, True), (0.9, 0.1, False)])  # fmt: skip
def test_who_is_unseen_or_nowhere_for_sure_is_lost_after_a_second(seen, sigma_m, lost) -> None:
    sight = Sight(HUES)
    assert not after(sight, LOST_NS / 1e9, people(seen, sigma_m))
    assert after(sight, LOST_NS / 1e9 + 0.1, people(seen, sigma_m)) is lost


def test_somebody_else_in_view_is_not_the_person() -> None:
    assert after(Sight(HUES), 2.0, people(0.0, other=1.0))
    assert not after(Sight(HUES), 2.0, people(1.0, other=0.0))


def test_a_glimpse_ends_it() -> None:
    sight = Sight(HUES)
    assert after(sight, 3.0, people(0.0))
    sight.step(4_000_000_000, people(0.9), GREEN)
    assert not sight.lost
    assert not after(sight, 0.5, people(0.0))


def test_a_goal_without_a_person_has_nobody_to_lose() -> None:
    place = goal_vector(position_m=(1.0, 0.0))
    assert not after(Sight(HUES), 3.0, people(0.0), place)
    assert not after(Sight({}), 3.0, people(0.0))
    look = goal_vector(appearance=(0.1, 0.8, 0.15))
    assert not after(Sight(HUES), 3.0, people(0.0), look), "who only looks waits"
    assert not after(Sight(HUES), 3.0, people(0.0)[:1]), "a belief that does not say"


@pytest.mark.parametrize(("rgb", "index"), [((0.9, 0.0, 0.05), 0), ((0.1, 0.8, 0.1), 1), ((0.1, 0.1, 0.7), 2)])  # fmt: skip
def test_the_nearest_hue_goes_around_the_circle(rgb, index) -> None:
    assert nearest_hue(np.array(rgb, np.float32), list(HUES.values())) == index
