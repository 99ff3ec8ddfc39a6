"""Who is meant where the goal names nobody: the nearest in clear view, until they are long gone."""

import colorsys

import numpy as np
import pytest

from runtime.sight import nearest_hue
from runtime.whom import CLEAR_NS, KEPT_NS, Whom, in_clear_view

HUES = {"red": 0.0, "green": 0.35, "blue": 0.64}
FRAME_NS = 50_000_000
HIDDEN = (0.1, 1.0, 0.0, 0.03, 0.0)


def at(x_m: float, y_m: float = 0.0, seen: float = 1.0, sigma_m: float = 0.03) -> tuple[float, ...]:
    return seen, x_m, y_m, sigma_m, 0.0


class Watched:
    """Somebody who watches people for so long."""

    def __init__(self, hues: dict[str, float] = HUES) -> None:
        self.whom, self.t_ns = Whom(hues), 0

    def see(self, seconds: float, **rows: tuple[float, ...]) -> str:
        people = np.array([rows.get(name, HIDDEN) for name in HUES], np.float32)
        for _ in range(round(seconds * 20)):
            self.t_ns += FRAME_NS
            self.whom.step(self.t_ns, people)
        return self.whom.name


def test_the_nearest_who_has_been_in_clear_view_for_a_moment_is_meant() -> None:
    watched = Watched()
    assert watched.see(2.0) == ""
    assert watched.see(CLEAR_NS / 1e9, green=at(2.0), blue=at(0.5, 1.5)) == ""
    assert watched.see(0.05, green=at(2.0), blue=at(0.5, 1.5)) == "blue"


@pytest.mark.parametrize("row", [at(1.0, seen=0.5), at(1.0, sigma_m=0.5), at(1.0, sigma_m=0.25), at(1.0, seen=np.nan), at(1.0, sigma_m=np.nan)])  # fmt: skip
def test_who_is_hardly_seen_or_nowhere_for_sure_is_not(row) -> None:
    watched = Watched()
    assert watched.see(2.0, red=row) == ""
    assert watched.see(1.0, red=row, blue=at(3.0)) == "blue"


@pytest.mark.parametrize(
    ("x_m", "sigma_m", "unseen_s", "clear"),
    [
        (1.0, 0.03, 0.0, True),
        (1.0, 0.25, 0.0, False),  # something else of that colour, as near
        (2.8, 0.25, 0.0, True),  # somebody far away
        (5.0, 0.35, 0.0, False),  # nowhere for sure: `Sight` calls them lost
        (0.3, 0.04, 0.0, True),  # very near
        (1.0, 0.03, 0.5, False),  # remembered
    ],
)
def test_clear_view_is_a_place_for_sure_for_its_distance(x_m, sigma_m, unseen_s, clear) -> None:
    assert in_clear_view(np.array([0.9, x_m, 0.0, sigma_m, unseen_s], np.float32)) is clear


def test_glimpses_do_not_add_up() -> None:
    watched = Watched()
    for _ in range(10):
        watched.see(0.25, red=at(1.0))
        assert watched.see(0.05) == ""


def test_a_nearer_newcomer_does_not_take_over() -> None:
    watched = Watched()
    watched.see(1.0, green=at(2.0))
    assert watched.see(60.0, green=at(2.0), red=at(0.5)) == "green"
    assert watched.see(KEPT_NS / 1e9 - 0.05, red=at(0.5)) == "green", "behind something"
    assert watched.see(0.05, green=at(2.0), red=at(0.5)) == "green"
    assert watched.see(KEPT_NS / 1e9 - 0.05, red=at(0.5)) == "green", "a glimpse counts"


def test_who_is_long_gone_gives_way_to_whoever_is_there_and_to_nobody_else() -> None:
    watched = Watched()
    watched.see(1.0, green=at(2.0))
    assert watched.see(60.0) == "green"
    assert watched.see(CLEAR_NS / 1e9, red=at(3.0)) == "green"
    assert watched.see(0.05, red=at(3.0)) == "red"
    assert watched.see(1.0, red=at(3.0), green=at(1.0)) == "red"


def test_chosen_anew_it_is_at_once_who_is_there_by_now() -> None:
    watched = Watched()
    watched.see(1.0, green=at(2.0))
    watched.see(1.0, green=at(2.0), red=at(0.5))
    watched.whom.forget()
    assert watched.whom.name == ""
    assert watched.see(0.05, green=at(2.0), red=at(0.5)) == "red"


def test_their_colour_is_the_hue_that_was_chosen() -> None:
    hues = list(HUES.values())
    for k, (name, hue) in enumerate(HUES.items()):
        watched = Watched()
        assert nearest_hue(watched.whom.colour, hues) == 0, "some colour while there is nobody"
        watched.see(1.0, **{name: at(1.0)})
        assert nearest_hue(watched.whom.colour, hues) == k
        assert watched.whom.colour == pytest.approx(colorsys.hsv_to_rgb(hue, 0.9, 0.85))


def test_where_people_have_no_hues_nobody_can_be_chosen() -> None:
    whom = Whom({})
    whom.step(FRAME_NS, np.tile(np.float32(at(1.0)), (3, 1)))
    assert not whom.can_choose and whom.name == ""
    assert Whom(HUES).can_choose
    whom = Whom(HUES)
    for k in range(20):
        whom.step(k * FRAME_NS, np.tile(np.float32(at(1.0)), (2, 1)))
    assert not whom.can_choose and whom.name == "", "a belief that names fewer people"
