"""Surprise: areas, levels of alarm, and what counts as one."""

from typing import Any

import numpy as np
import pytest

from models.manifest import Threshold
from runtime.modes import Mode
from runtime.surprise import SURPRISE_CHANNELS, Usual
from tools.compose import DEFAULT_BUNDLE, load_policy, open_world, prepare
from tools.evaluate.episodes import (
    Episode,
    active_s,
    alarms_while_active,
    moved_frames,
    settings_of,
)
from tools.evaluate.surprise import (
    LAST,
    START,
    alarms,
    areas,
    auroc,
    first_alarm,
    run_event,
    scores,
    usable,
)
from tools.evaluate.thresholds import tail_level, thresholds
from tools.lockstep_run import LockstepRun

LEVELS = {c: Threshold(typical=0.1, event=1.0, frames=1) for c in SURPRISE_CHANNELS}


def test_auroc_counts_pairs_and_ties_as_halves() -> None:
    assert auroc(np.array([2.0, 3.0]), np.array([0.0, 1.0])) == 1.0
    assert auroc(np.array([1.0]), np.array([1.0])) == 0.5
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 5, 40).astype(float), rng.integers(1, 6, 30).astype(float)
    pairs = (a[:, None] > b).mean() + 0.5 * (a[:, None] == b).mean()
    assert auroc(a, b) == pytest.approx(pairs)


def test_a_planted_event_is_told_from_quiet_and_nothing_is_not() -> None:
    rng = np.random.default_rng(1)
    quiet = [rng.random(130) for _ in range(30)]
    planted = [q.copy() for q in quiet]
    for p in planted:
        p[START : START + LAST] += 2
    assert areas(planted) == (1.0, 1.0)
    step, window = areas(quiet)
    assert 0.4 < step < 0.6 and 0.35 < window < 0.65


@pytest.mark.parametrize(
    ("event", "touched", "counts"),
    [
        ("none", None, True),
        ("none", START + 5, False),
        ("push", START + 5, True),
        ("push", 30, False),
    ],
)
def test_an_episode_with_a_touch_before_is_no_control(event, touched, counts) -> None:
    """A push may throw the robot against something: that touch is part of the event."""
    one = {"event": event, "touched": touched, "values": [[0.0]] * 130}
    assert usable(one) is counts
    assert not usable({**one, "touched": None, "values": [[0.0]] * 100})


def test_levels_give_about_the_alarms_they_promise() -> None:
    """Levels set on half an hour of an exponential tail, counted on another hour."""
    rng = np.random.default_rng(2)
    level = tail_level(rng.exponential(1.0, 72_000), 1 / 12_000)
    assert level == pytest.approx(np.log(12_000), rel=0.05)
    episodes = [rng.exponential(1.0, (400, len(SURPRISE_CHANNELS))) for _ in range(90)]
    for e in episodes:
        e[:, [SURPRISE_CHANNELS.index(c) for c in ("frozen", "dark")]] = 0
    found = {
        k: Threshold(**v)
        for k, v in thresholds(episodes, [np.ones(len(e), bool) for e in episodes]).items()
    }
    fresh = rng.exponential(1.0, (72_000, len(SURPRISE_CHANNELS)))
    fresh[:, [SURPRISE_CHANNELS.index(c) for c in ("frozen", "dark")]] = 0
    assert 1 <= alarms(fresh, found) <= 15, "six an hour are promised"


@pytest.mark.parametrize(
    ("above", "first"),
    [
        ({92: 1, 93: 1}, 2),
        (dict.fromkeys(range(80, 130), 1), None),
        ({**dict.fromkeys(range(80, 130), 1), 95: 3}, 5),
        ({91: 2}, 1),
        ({90: 2}, None),
        ({112: 1}, 22),
        ({113: 1}, None),
    ],
)
def test_an_alarm_that_was_up_before_has_noticed_something_else(above, first) -> None:
    number = np.arange(1, 131, dtype=np.uint32)
    flags = np.array([above.get(int(n), 0) for n in number], np.uint32)
    assert first_alarm(number, flags) == first


def test_a_heavy_tail_is_met_and_a_bound_is_not_believed() -> None:
    rng = np.random.default_rng(3)
    share, shape = 1 / 12_000, 0.3
    heavy = tail_level(rng.uniform(size=72_000) ** -shape, share)
    assert heavy == pytest.approx(share**-shape, rel=0.15)
    bounded = rng.uniform(size=72_000)
    assert tail_level(bounded, share) > bounded.max()
    assert tail_level(np.ones(1000), share) == 1.0
    assert np.isfinite(tail_level(np.r_[np.zeros(400), 1.0, 2.0, 2.0], share))


def records(above: list[int], modes: list[Mode], bumped: int = -1) -> Any:
    """Frames of 50 ms with these alarms, a status and a truth beside each."""
    n = len(above)
    out = {k: np.zeros(n, [("t_ns", "i8"), (f, "i8")]) for k, f in (("surprise", "above"), ("status", "mode"), ("truth", "bump"))}  # fmt: skip
    for array in out.values():
        array["t_ns"] = np.arange(n) * 50_000_000
    out["surprise"]["above"], out["status"]["mode"] = above, modes
    out["truth"]["bump"] = np.arange(n) == bumped
    return out


def test_false_alarms_are_beginnings_while_it_drives_and_touches_nothing() -> None:
    above, drives = [0, 1, 1, 3, 0, 1, 1], [Mode.ACTIVE] * 7
    assert alarms_while_active(records(above, drives)) == 3
    assert alarms_while_active(records(above, [Mode.IDLE] * 2 + drives[2:])) == 2
    assert alarms_while_active(records(above, drives, bumped=3)) == 1
    assert active_s(records(above, [Mode.IDLE] * 2 + drives[2:])) == pytest.approx(0.2)


def test_a_baseline_without_a_model_is_told_by_what_is_less_as_well() -> None:
    """A frozen camera's frames differ by nothing: that is less than usual, and tells it well."""
    rng = np.random.default_rng(4)
    rows = []
    for _ in range(8):
        difference = rng.uniform(1, 2, START + 40)
        difference[START : START + LAST] = 0.0
        rows.append({"moved": [True] * (START + 40), "values": np.zeros((START + 40, len(SURPRISE_CHANNELS))).tolist(),
                     "difference": difference.tolist(), "energy": np.ones(START + 40).tolist()})  # fmt: skip
    found = {name: areas(v) for name, v in scores(rows, LEVELS).items()}
    assert found["raw_difference"][0] == 0.0 and found["raw_difference_either"][0] == 1.0


def test_a_frozen_camera_shows_in_its_ten_frames_and_in_no_other() -> None:
    row = run_event(Episode(DEFAULT_BUNDLE, 31_000_100, scenario="default"), "freeze")
    frozen = np.array(row["values"], float)[:, SURPRISE_CHANNELS.index("frozen")]
    odd = np.flatnonzero(frozen > 0.5)
    assert set(odd) <= set(range(START, START + LAST)) and len(odd) >= LAST - 1
    assert row["first_alarm"] is not None and row["first_alarm"] <= 4
    assert len(row["values"]) == len(row["difference"]) == len(row["energy"]) == len(row["moved"])
    assert not row["moved"][0] and any(row["moved"][10:]), "it stands, and then follows"


def test_learning_a_floor_is_no_event() -> None:
    """On a steady floor rougher than typical, nothing happens: later frames score no higher."""
    rng = np.random.default_rng(5)
    at, rows = SURPRISE_CHANNELS.index("vibration"), []
    for _ in range(60):
        values = np.zeros((START + 40, len(SURPRISE_CHANNELS)))
        values[:, at] = rng.uniform(0.1, 0.15, START + 40)
        rows.append({"values": values.tolist(), "moved": [True] * (START + 40),
                     "difference": [1.0] * (START + 40), "energy": [1.0] * (START + 40)})  # fmt: skip
    assert areas(scores(rows, LEVELS)["vibration"])[0] == pytest.approx(0.5, abs=0.04)


def test_a_robot_learns_its_floor_as_it_drives_and_only_then() -> None:
    """What the running monitor holds for usual is what its records, told again, come to."""
    setup = prepare(settings_of(Episode(DEFAULT_BUNDLE, 31_000_100, scenario="default")))
    run = LockstepRun(setup, open_world(setup)[0], load_policy(setup)[0])
    records = run.run(3.0).records
    values, moved = records["surprise"]["value"], moved_frames(records)
    assert not moved[:5].any() and moved[10:].any()
    stood, drove = (Usual(setup.bundle.manifest.surprise) for _ in range(2))
    first = stood._mean.copy()
    for value, went in zip(values, moved, strict=True):
        stood.step(value, False)
        drove.step(value, bool(went))
    learnt = run.perception._monitor._usual._mean
    assert (stood._mean == first).all() and not np.allclose(learnt, first, rtol=0.05)
    assert np.allclose(learnt, drove._mean, rtol=0.05)
