"""Open loop: baselines, horizons and the turned frame, where the answer is known."""

from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from models.since import Senses, Since
from models.world import World
from tools.compose import RunSettings, prepare
from tools.evaluate.open_loop import STEPS, _hidden, _moved, _people, _rollout, warp


def test_constant_velocity_is_asked_of_who_was_in_view_all_the_while() -> None:
    frames, start = 40, 20
    seen = np.ones((frames, 6))
    x = 1.0 + 0.02 * np.arange(frames)  # the target walks on
    people = np.zeros((frames, 6, 5), np.float32)
    people[:, 2, 1], people[:, 2, 3] = x, 0.05
    data = {"people": people, "target_hue": np.full(frames, 2), "person_seen": seen,
            "person_xy": people[..., 1:3].astype(float), "pose": np.zeros((frames, 3))}  # fmt: skip
    raw = np.repeat(people[start + 10][None], 3, 0)
    raw[..., 3] = np.log(0.05)

    def sums() -> dict[str, float]:
        out: dict[str, float] = {}
        _people(data, raw, start, 10, lambda k, v: out.__setitem__(k, out.get(k, 0.0) + v))
        return out

    found = sums()
    assert found["person_velocity"] == pytest.approx(0, abs=1e-5)
    assert found["person_steady"] == found["person"] == pytest.approx(0, abs=1e-5)
    assert found["person_persistence"] == pytest.approx(0.2)
    assert found["person_standing"] == pytest.approx(0.2)
    assert found["person_walking"] == pytest.approx(0, abs=1e-5)
    seen[start - 2, 2] = 0  # just come into view
    assert "person_velocity" not in sums() and "person_steady" not in sums()
    assert "person_persistence" in sums()


def test_the_bases_own_way_is_no_error_of_who_stands_in_the_room() -> None:
    """The base drives at somebody who stands: in its frame they come nearer, in the room they stay."""
    frames, start = 40, 20
    way = 0.02 * np.arange(frames)
    people = np.zeros((frames, 6, 5), np.float32)
    people[:, 2, 1], people[:, 2, 3] = 2.0 - way, 0.05
    data = {"people": people, "target_hue": np.full(frames, 2), "person_seen": np.ones((frames, 6)),
            "person_xy": people[..., 1:3].astype(float), "pose": np.stack([way, 0 * way, 0 * way], 1)}  # fmt: skip
    found: dict[str, float] = {}
    raw = np.repeat(people[start + 10][None], 3, 0)
    _people(data, raw, start, 10, lambda k, v: found.__setitem__(k, v))
    assert found["person_persistence"] == pytest.approx(0.2)
    for name in ("person_standing", "person_walking"):
        assert found[name] == pytest.approx(0, abs=1e-5)


def test_whoever_is_out_of_sight_for_two_seconds_counts_once() -> None:
    frames, lost = 100, 50
    seen, present = np.zeros((frames, 6)), np.zeros((frames, 6))
    present[:, :3] = 1
    seen[:lost, :2] = 1  # both are lost at once; a third was never seen
    xy = np.zeros((frames, 6, 2))
    xy[lost - 1 :, 1, 0] = 0.01 * np.arange(frames - lost + 1)  # walks on; the first stands
    people = np.zeros((frames, 6, 5), np.float32)
    people[..., 1] = 0.1
    data = {"people": people, "person_seen": seen, "person_present": present, "person_xy": xy,
            "pose": np.zeros((frames, 3))}  # fmt: skip
    model, last = _hidden(data)
    assert model == pytest.approx([0.1, 0.3]) and last == pytest.approx([0.0, 0.4])


def test_a_place_carried_into_another_pose() -> None:
    x, y = _moved((1.0, 0.0), (0.0, 0.0, 0.0), (0.0, 0.0, np.pi / 2))
    assert (x, y) == pytest.approx((0.0, -1.0), abs=1e-9)
    assert _moved((1.0, 2.0), (3.0, 4.0, 0.5), (3.0, 4.0, 0.5)) == pytest.approx((1.0, 2.0))


class Truthful:
    """A world model that knows what comes: what it imagines is what is there."""

    def __init__(self, data: dict[str, Any], start: int) -> None:
        self._data, self._now, self.candidates = data, start, 4

    def imagine(self, beliefs: Any, action: Any) -> Any:
        self._now += 1
        assert np.array_equal(action, self._data["action"][self._now]), "the action sent before it"
        senses = np.concatenate(
            [self._data["proprio"][self._now], self._data["imu"][self._now].mean(0)]
        )
        person = np.zeros((4, 1, 5), np.float32)
        person[:, 0, 1:3] = self._data["person_xy"][self._now][0]
        return SimpleNamespace(beliefs=beliefs, senses=np.repeat(senses[None], 4, 0), person=person)

    def decode(self, _belief: Any, _first: Any, _since: Any) -> Any:
        return self._data["frame"][self._now].astype(np.float32) / 255


def test_whoever_imagines_the_truth_has_no_error_at_any_horizon() -> None:
    setup = prepare(RunSettings(lockstep=True, seed=1))
    rng, t, start, p = np.random.default_rng(5), 45, 22, setup.layout.proprio_size
    data: dict[str, Any] = {
        "frame": rng.integers(0, 255, (t, 3, 64, 64)).astype(np.uint8),
        "imu": rng.normal(0, 0.1, (t, 5, 6)).astype(np.float32),
        "proprio": rng.normal(0, 0.1, (t, p)).astype(np.float32),
        "action": rng.normal(0, 1, (t, setup.layout.action_size)).astype(np.float32),
        "belief": np.zeros((t, 8), np.float32), "people": rng.normal(2, 1, (t, 1, 5)),
        "innovation": np.zeros((t, p + 6), np.float32), "target_hue": np.zeros(t, int),
        "person_seen": np.ones((t, 1)), "person_xy": rng.normal(2, 1, (t, 1, 2)).astype(np.float32),
        "pose": np.zeros((t, 3)),
    }  # fmt: skip
    sums: dict[str, dict[str, float]] = {str(k): {} for k in STEPS}
    _rollout(data, cast(World, Truthful(data, start)), setup, start, sums)
    for k, found in sums.items():
        assert found["n"] == 1
        for name in ("image", "gyro", "person"):
            assert found[name] == pytest.approx(0, abs=1e-6), (k, name)
            assert found[f"{name}_persistence"] > 1e-6, (k, name)


@pytest.mark.parametrize(("turn", "pitch"), [(0.2, 0.0), (-0.2, 0.0), (0.0, 0.15), (0.0, -0.15)])
def test_a_frame_turned_by_the_measured_rotation_meets_what_is_seen_then(turn, pitch) -> None:
    """A bright spot on a known ray, drawn by the pinhole equations before and after the turn."""
    setup = prepare(RunSettings(lockstep=True, seed=1))
    c = setup.bundle.manifest.camera

    def seen(turned: float, down: float) -> tuple[float, float]:
        """Pixel of a ray 5 degrees to the left and 3 up of the first axis; x forward, y left, z up."""
        left, up = np.radians(5) - turned, np.radians(3) + down
        ray = np.array([np.cos(left) * np.cos(up), np.sin(left) * np.cos(up), np.sin(up)])
        return c.cx - c.fx * ray[1] / ray[0], c.cy - c.fy * ray[2] / ray[0]

    v, u = np.mgrid[0 : c.height, 0 : c.width]

    def spot(at: tuple[float, float]) -> Any:
        glow = np.exp(-((u - at[0]) ** 2 + (v - at[1]) ** 2) / 8)
        return np.repeat(glow[None], 3, 0).astype(np.float32)

    since = Since(Senses.of(setup.layout))
    since.value[:3] = (turn, 0.0, pitch)
    turned = warp(spot(seen(0, 0)), since, setup)[0]
    found = float((turned * u).sum() / turned.sum()), float((turned * v).sum() / turned.sum())
    assert found == pytest.approx(seen(turn, pitch), abs=0.5)
    assert abs(np.subtract(found, seen(0, 0))).max() > 3, "it did move"
