"""What an imagined moment is worth: the distance kept, to somebody in the camera's view."""

import colorsys
import math
from typing import Any

import numpy as np
import pytest

from models.layout import goal_vector
from models.world import Imagined
from runtime.body import load_body
from runtime.worth import Worth
from tools.twin.scene import HUES

LAYOUT = load_body("companion").layout()
HALF_VIEW_RAD = math.radians(35)
SHIRT = colorsys.hsv_to_rgb(HUES["green"], 0.9, 0.85)
GREEN = list(HUES).index("green")
HEAD = LAYOUT.index("head_yaw.position")


@pytest.fixture
def worth() -> Worth:
    return Worth(LAYOUT, HUES, HALF_VIEW_RAD)


def imagined(x: float, y: float, head_rad: float = 0.0) -> Imagined:
    person = np.zeros((1, 6, 5), "f4")
    person[0, GREEN, 1:3] = x, y
    senses = np.zeros((1, LAYOUT.proprio_size + 6), "f4")
    senses[0, HEAD] = head_rad
    zero: Any = np.zeros(1, "f4")
    return Imagined(zero, senses, person, zero, zero, zero)


@pytest.mark.parametrize(
    ("x", "y", "head", "worth_it"),
    [
        (1.2, 0, 0, 1.0),
        (1.0, 0, 0, 0.8),
        (1.7, 0, 0, 0.5),
        (3.0, 0, 0, 0.0),
        (0, 1.2, 0, 0.0),  # to the left, and the head looks ahead
        (0, 1.2, math.pi / 2, 1.0),
        (-1.2, 0.01, -math.pi + 0.1, 1.0),  # across the turn of the angle
    ],
)
def test_it_is_the_reward_of_following(worth: Worth, x, y, head, worth_it) -> None:
    assert worth.of(imagined(x, y, head), GREEN, 1.2)[0] == pytest.approx(worth_it, abs=0.02)


def test_whose_slot_counts(worth: Worth) -> None:
    people = np.zeros((6, 5), "f4")
    people[:, 1], people[:, 3] = 1.0, 0.05
    people[GREEN, 0] = 0.9
    goal = goal_vector(distance_m=1.2, appearance=SHIRT)
    assert worth.person(people, goal) == GREEN
    assert worth.person(people, goal_vector(distance_m=1.2)) is None, "nobody is named"
    assert worth.person(people, goal_vector(appearance=SHIRT)) is None, "no distance"
    assert worth.person(people[:3], goal) is None, "a belief that does not tell people apart"
    people[GREEN, 3] = 0.5
    assert worth.person(people, goal) is None, "nobody knows where they are"
    people[GREEN, :4] = 0.3, 1, 0, 0.05
    assert worth.person(people, goal) is None, "out of view"
