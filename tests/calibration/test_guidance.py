"""The guidance: what it asks for, when it takes a picture, and that its words do not flicker."""

import numpy as np
import pytest

from calibration.board import parse_board
from calibration.camera import LensCamera, PinholeCamera
from calibration.corners import Detection
from calibration.guidance import (
    MOST_VIEWS,
    PATIENCE_LOOKS,
    STEADY_LOOKS,
    STILL_LOOKS,
    TILTS,
    VIEWS,
    VIEWS_SMALL,
    Guide,
)

cv2 = pytest.importorskip("cv2")
BOARD = parse_board("chessboard:9x6:25mm")
SIZE = (640, 480)
LENS = LensCamera(PinholeCamera(640, 480, 500, 500, 322, 238), (-0.15, 0.03, 0, 0, 0))


def seen(at=(320, 240), reach=0.6, lean=(0.0, 0.0), edge=2.0, moved=0.0, mirrored=False):
    """The board with its middle at a pixel, so far away [m], leaning [rad] as `tilt` counts it."""
    turn = cv2.Rodrigues(np.array([-lean[1], lean[0], 0.0]))[0]
    middle = LENS.unproject(np.array([at], float))[0] * reach
    points = (BOARD.points - BOARD.points.mean(0)) @ turn.T + middle
    pixels = LENS.project(points) + moved
    return Detection(np.arange(len(pixels)), pixels, False, mirrored, 20.0, edge)


def hold(guide, detection, looks=STILL_LOOKS + 1):
    advice = guide.look(detection)
    for _ in range(looks - 1):
        if advice.take:
            break
        advice = guide.look(detection)
    return advice


def test_a_still_sharp_new_view_is_taken_once():
    guide = Guide(BOARD, SIZE)
    taken = [guide.look(seen()).take for _ in range(10)]
    assert taken == [False] * STILL_LOOKS + [True] + [False] * (9 - STILL_LOOKS)
    assert guide.views == 1


@pytest.mark.parametrize("moved", [1.2, 5.0])
def test_a_moving_board_is_not_taken(moved):
    guide = Guide(BOARD, SIZE)
    assert not any(guide.look(seen(moved=k * moved)).take for k in range(10))
    assert guide.look(seen(moved=10 * moved)).text in ("hold still", guide._need.words)


def test_stillness_is_counted_in_the_picture_s_own_pixels():
    large = Guide(BOARD, (1920, 1440))
    for k in range(3):
        advice = large.look(seen(moved=1.5 * k))
    assert advice.take


@pytest.mark.parametrize("odd", [{"edge": 4.0}, {"mirrored": True}])
def test_what_solve_would_refuse_is_not_taken_and_is_named(odd):
    guide = Guide(BOARD, SIZE)
    advice = [guide.look(seen(**odd)) for _ in range(12)][-1]
    assert not advice.take and not guide.views
    assert advice.text.startswith("more light: blurred" if "edge" in odd else "the picture is mirrored")  # fmt: skip


def test_a_lost_board_is_asked_for():
    guide = Guide(BOARD, SIZE)
    assert guide.look(None).text == "hold the whole board before the camera"
    hold(guide, seen())
    for _ in range(STEADY_LOOKS):
        advice = guide.look(None)
    assert advice.text.startswith("show the whole board")


@pytest.mark.parametrize(
    ("direction", "lean"), [(0, (0.5, 0)), (1, (0, 0.5)), (2, (-0.5, 0)), (3, (0, -0.5))]
)
def test_tilts_are_told_apart_with_a_guessed_focal_length(direction, lean):
    guide = Guide(BOARD, SIZE)
    hold(guide, seen(lean=lean))
    assert np.flatnonzero(guide.tilts).tolist() == [direction]
    # the side that is named is the one farther away, so its squares are the smaller
    grid = seen(lean=lean).pixels.reshape(6, 9, 2)
    left, right = np.ptp(grid[:, 0, 1]), np.ptp(grid[:, -1, 1])
    top, low = np.ptp(grid[0, :, 0]), np.ptp(grid[-1, :, 0])
    smaller = ("left side" if left < right else "right side") if lean[0] else "top" if top < low else "bottom"  # fmt: skip
    assert TILTS[direction] == smaller


def everything():
    """Views that are enough: all over the picture, each way tilted, near."""
    spots = [(x, y) for y in (95, 190, 290, 385) for x in (130, 260, 380, 510)]
    leans = [(0.5, 0), (0, 0.5), (-0.5, 0), (0, -0.5)]
    out = [seen(at=a, reach=0.75, lean=leans[i % 4]) for i, a in enumerate(spots)]
    out += [seen(at=(230 + 45 * k, 240), reach=0.25, lean=leans[k % 4]) for k in range(5)]
    return out + [seen(at=(300, 220), reach=0.9 + 0.2 * k, lean=leans[k % 4]) for k in range(6)]


def test_all_of_it_ends_and_progress_never_falls():
    guide, shares = Guide(BOARD, SIZE), []
    for view in everything():
        for _ in range(STILL_LOOKS + 1):
            advice = guide.look(view)
            shares.append(advice.share)
    assert guide.missing() == [] and advice.done and advice.need is None
    assert guide.views >= VIEWS and advice.share == 1.0
    assert shares == sorted(shares)
    assert not guide.look(seen(at=(200, 200))).take


@pytest.mark.parametrize("kind", ["cell", "tilt", "near"])
def test_what_was_left_out_is_still_asked_for(kind):
    guide = Guide(BOARD, SIZE)
    for view in everything():
        outer = view.pixels[:, 0].max() > 510
        lean = guide._direction(guide._view(view))
        if (kind == "cell" and outer) or (kind == "near" and guide._span(view) > 0.5):
            continue
        if kind == "tilt" and lean in (0, None):
            continue
        guide.keep(view)
    kinds = {n.kind for n in guide.missing()}
    assert kind in kinds and not guide.done
    text = hold(guide, None, 1).text
    assert not text.startswith("done")


def test_words_change_only_when_they_stay_right():
    guide = Guide(BOARD, SIZE)
    hold(guide, seen())
    first = [guide.look(seen()).text for _ in range(STEADY_LOOKS + 2)][-1]
    for _ in range(10):  # found, lost, found, lost
        assert guide.look(None).text == first
        assert guide.look(seen()).text == first


def test_what_cannot_be_met_makes_room_for_the_next_thing():
    guide = Guide(BOARD, SIZE)
    asked = {guide.look(None).need for _ in range(3 * PATIENCE_LOOKS + 5)}
    assert len(asked) >= 3


def test_it_ends_at_the_most_views_and_small_pictures_want_more():
    guide = Guide(BOARD, SIZE)
    for k in range(MOST_VIEWS):
        guide.keep(seen(moved=0.1 * k))
    assert guide.done and guide.missing()
    assert Guide(BOARD, (128, 96)).wanted_views == VIEWS_SMALL
