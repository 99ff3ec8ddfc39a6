"""Evaluation's own arithmetic: figures, intervals, resuming, and levels of alarm."""

import argparse
import json
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from msgspec import structs

from models.bundle import BUNDLES, find_bundle, load_bundle
from models.manifest import Threshold
from models.since import Senses, Since
from models.world import World
from runtime.body import load_body
from runtime.camera import ChannelCamera
from runtime.errors import ConfigError, RuntimeFault
from runtime.modes import Mode
from runtime.surprise import SURPRISE_CHANNELS
from tools import played
from tools.compose import DEFAULT_BUNDLE, RunSettings, open_world, prepare
from tools.evaluate import command
from tools.evaluate import episodes as episodes_module
from tools.evaluate import jobs as jobs_module
from tools.evaluate.command import flat, played_sha, seed_range, table
from tools.evaluate.episodes import Episode, active_s, alarms_while_active, run_episode
from tools.evaluate.jobs import (
    FRESH_SEED,
    PARTS,
    Job,
    jobs_of,
    pinned,
    read_rows,
    run_all,
    run_job,
)
from tools.evaluate.open_loop import STEPS, _hidden, _moved, _people, _rollout, warp
from tools.evaluate.summary import bootstrap, summary, wilson
from tools.evaluate.surprise import LAST, START, alarms, areas, auroc, run_event, scores, usable
from tools.evaluate.thresholds import tail_level, thresholds
from tools.lockstep_run import DarkCamera

LEVELS = {c: Threshold(typical=0.1, event=1.0, frames=1) for c in SURPRISE_CHANNELS}


class Here:
    """A pool that runs in this process."""

    def run(self, function: Any, work: Any) -> Any:
        return (function(*w) for w in work)


def row(part: str, seed: int, success: bool = True, **more: Any) -> dict[str, Any]:
    metrics = {"return": 0.8 if success else 0.2, "bumps": 0.0}
    fields = {"part": part, "seed": seed, "skill": "follow", "scenario": "hard", "kind": "normal", "foresight": 0, "event": "", "success": success, "metrics": metrics}  # fmt: skip
    return {**fields, **more}


def open_loop(image: float) -> dict[str, Any]:
    step = {"image": image, "image_persistence": 1.0, "image_warp": 0.5, "person": 0.3,
            "person_persistence": 0.6, "person_velocity": 0.9, "person_steady": 0.27,
            "person_standing": 0.4, "person_walking": 0.3, "gyro": 0.1, "gyro_persistence": 2.0,
            "inside90": 9.0, "people": 10.0, "n": 4.0}  # fmt: skip
    return {
        "steps": {"10": step},
        "seen_m": [0.05, 0.07],
        "seen_inside90": [9.0, 10.0],
        "hidden_m": [0.5],
        "hidden_last_seen_m": [0.9],
    }


def test_ratios_are_of_summed_errors() -> None:
    rows = [row("follow", i, open_loop=open_loop(image)) for i, image in enumerate((0.2, 0.6))]
    rows += [row("expert", i, kind="expert") for i in range(2)]
    found = summary(rows, LEVELS)
    k10 = found["open_loop"]["10"]
    assert k10["image_vs_persistence"] == pytest.approx(0.4)
    assert k10["image_vs_warp"] == pytest.approx(0.8)
    assert k10["person_vs_persistence"] == pytest.approx(0.5)
    assert k10["person_vs_constant_velocity"] == pytest.approx(0.3), (
        "of those in view all the while"
    )
    assert k10["person_inside90"] == pytest.approx(0.9)
    low, high = k10["image_vs_persistence_ci95"]
    assert 0.2 <= low < 0.4 < high <= 0.6
    assert found["person_median_m"] == pytest.approx(0.06)
    assert found["occluded_2s"]["model_m"] == 0.5
    assert found["skills"]["follow"]["return_vs_expert"] == pytest.approx(1.0)
    assert any("follow: success 1.00" in line for line in table({"bundle": "x", **found}))


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


def test_moments_out_of_sight_are_resampled_by_episode() -> None:
    """Ten moments of one episode are one piece of luck, not ten."""

    def hidden(own: list[float]) -> dict[str, Any]:
        return {**open_loop(0.2), "hidden_m": own, "hidden_last_seen_m": [0.5] * len(own)}

    rows = [row("follow", 0, open_loop=hidden([0.1] * 10)), row("follow", 1, open_loop=hidden([0.8] * 2)),
            row("follow", 2, open_loop=hidden([]))]  # fmt: skip
    found = summary(rows, LEVELS)["occluded_2s"]
    assert found["moments"] == 12
    assert found["model_m"] == pytest.approx((10 * 0.1 + 2 * 0.8) / 12, abs=1e-4)
    assert found["difference_ci95"] == pytest.approx((-0.4, 0.3), abs=1e-6)


def test_what_was_not_measured_is_absent() -> None:
    found = summary([row("ablation", 1, success=False, kind="blackout")], LEVELS)
    assert found["blackout"]["success"] == 0.0
    assert not {"open_loop", "surprise", "planning", "quiet", "easy"} & set(found)


def test_planning_is_compared_seed_by_seed() -> None:
    rows = [row("planning", i, success=i % 2 == 0, foresight=1) for i in range(20)]
    rows += [row("planning", i, foresight=32) for i in range(20)]
    candidates = summary(rows, LEVELS)["planning"]["candidates"]
    assert candidates["1"]["success"] == 0.5 and candidates["32"]["success"] == 1.0
    low, high = candidates["32"]["success_gain_ci95"]
    assert 0 < low < 0.5 < high, "an interval that excludes zero"


def test_intervals() -> None:
    assert wilson(9, 10) == (0.5958, 0.9821)  # as tabulated
    assert bootstrap(50, lambda i: float(np.ones(50)[i].mean())) == (1.0, 1.0)


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
    found = {k: Threshold(**v) for k, v in thresholds(episodes).items()}
    fresh = rng.exponential(1.0, (72_000, len(SURPRISE_CHANNELS)))
    fresh[:, [SURPRISE_CHANNELS.index(c) for c in ("frozen", "dark")]] = 0
    assert alarms(fresh, found) <= 15, "six an hour are promised"


def test_a_heavy_tail_is_met_and_a_bound_is_not_believed() -> None:
    rng = np.random.default_rng(3)
    share, shape = 1 / 12_000, 0.3
    heavy = tail_level(rng.uniform(size=72_000) ** -shape, share)
    assert heavy == pytest.approx(share**-shape, rel=0.15)
    bounded = rng.uniform(size=72_000)
    assert tail_level(bounded, share) > bounded.max()
    assert tail_level(np.ones(1000), share) == 1.0
    assert np.isfinite(tail_level(np.r_[np.zeros(400), 1.0, 2.0, 2.0], share))


def test_a_place_carried_into_another_pose() -> None:
    x, y = _moved((1.0, 0.0), (0.0, 0.0, 0.0), (0.0, 0.0, np.pi / 2))
    assert (x, y) == pytest.approx((0.0, -1.0), abs=1e-9)
    assert _moved((1.0, 2.0), (3.0, 4.0, 0.5), (3.0, 4.0, 0.5)) == pytest.approx((1.0, 2.0))


def test_rows_are_kept_and_not_run_again(tmp_path: Path, monkeypatch) -> None:
    ran: list[str] = []

    def run_job(job: Job) -> dict[str, Any]:
        ran.append(job.key)
        if len(ran) == 3:
            raise KeyboardInterrupt
        return {"key": job.key, **row(job.part, job.episode.seed)}

    monkeypatch.setattr(jobs_module, "run_job", run_job)
    pool: Any = Here()
    jobs = [Job("ablation", Episode("b", seed)) for seed in range(4)]
    said: list[str] = []
    assert len(run_all(jobs, tmp_path, pool, said.append)) == 2
    assert "interrupted" in said[-1]
    with (tmp_path / "rows.jsonl").open("a") as file:
        file.write('{"key": "cut')
    rows = run_all(jobs, tmp_path, pool, said.append)
    assert sorted(r["seed"] for r in rows) == [0, 1, 2, 3]
    assert len(ran) == 5, "two of the four were there"
    assert len(read_rows(tmp_path / "rows.jsonl")) == 4


@pytest.mark.parametrize(
    "line",
    [b"null", b"[]", b"{}", b"5", b'{"key": []}', b'{"key": "k"}', b"\xff\x00", b"[" * 200_000],
)
def test_a_line_that_is_no_row_is_left_out(tmp_path: Path, line: bytes) -> None:
    good = {"key": "g", **row("ablation", 3)}
    file = tmp_path / "rows.jsonl"
    file.write_bytes(line + b"\n" + json.dumps(good).encode() + b"\n")
    assert read_rows(file) == {"g": good}


def test_only_a_whole_measurement_is_written_into_a_bundle(tmp_path, monkeypatch, capsys) -> None:
    bundle = tmp_path / "companion-follow"
    shutil.copytree(BUNDLES / "companion-follow", bundle)
    before = (bundle / "manifest.toml").read_bytes()
    monkeypatch.setattr(command, "run_all", lambda jobs, *_: [row("ablation", 1)])
    parser = argparse.ArgumentParser(description="")
    command.add_arguments(parser)
    args = parser.parse_args(
        f"--bundle {bundle} --seeds 2 --only ablation --write --work {tmp_path}".split()
    )
    assert command.evaluate(args) == 130
    assert "keeps its figures" in capsys.readouterr().err
    assert (bundle / "manifest.toml").read_bytes() == before


def test_every_part_has_jobs_and_seeds_stay_apart_from_training() -> None:
    jobs = jobs_of("b", range(FRESH_SEED, FRESH_SEED + 20), PARTS)
    assert {j.part for j in jobs} == {*PARTS, "expert"}
    assert len({j.key for j in jobs}) == len(jobs)
    assert min(j.episode.seed for j in jobs if j.part != "quiet") >= FRESH_SEED


def test_rows_of_other_graphs_levels_or_code_are_not_taken(monkeypatch, tmp_path: Path) -> None:
    bundle = load_bundle(find_bundle("companion-follow"), load_body("companion").layout())
    same = replace(bundle, manifest=structs.replace(bundle.manifest, metrics={"x": 1.0}))
    assert played_sha(same) == played_sha(bundle), "figures are no part of what is played"
    m = bundle.manifest
    level = structs.replace(m.surprise["drive"], event=9.0)
    for manifest in (
        structs.replace(m, sha256={**m.sha256, "policy.onnx": "0" * 64}),
        structs.replace(m, policy_scale=(0.5,) * 4),
        structs.replace(m, surprise={**m.surprise, "drive": level}),
    ):
        assert played_sha(replace(bundle, manifest=manifest)) != played_sha(bundle)
    before = played_sha(bundle)
    monkeypatch.setattr(played, "ROOT", tmp_path)
    assert played_sha(bundle) != before


def test_seeds_are_a_count_or_a_range() -> None:
    assert list(seed_range("7:9")) == [7, 8]
    assert len(seed_range("3")) == 3


@pytest.mark.parametrize("text", ["-5:-3", "9" * 20, "0:9999999999", "5:2", "x"])
def test_seeds_that_cannot_be_are_refused(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError):
        seed_range(text)


def test_figures_of_seeds_that_a_training_may_use_are_not_signed(tmp_path: Path) -> None:
    parser = argparse.ArgumentParser(description="")
    command.add_arguments(parser)
    args = parser.parse_args(f"--seeds 5000000:5000002 --write --work {tmp_path}".split())
    with pytest.raises(ConfigError, match="no training used"):
        command.evaluate(args)


@pytest.mark.parametrize("what", ["code", "bundle"])
def test_a_row_is_of_the_code_and_the_bundle_that_it_was_asked_of(what, tmp_path, monkeypatch) -> None:  # fmt: skip
    (tmp_path / "manifest.toml").write_text("one")
    monkeypatch.setattr(jobs_module, "run_episode", lambda episode: row("ablation", episode.seed))
    (job,) = pinned([Job("ablation", Episode(str(tmp_path), 1))], tmp_path)
    assert run_job(job)["seed"] == 1 and job.key == Job(job.part, job.episode).key
    if what == "code":
        monkeypatch.setattr(jobs_module, "code_sha", lambda: "another")
    else:
        (tmp_path / "manifest.toml").write_text("another")
    with pytest.raises(RuntimeFault, match=f"the {what} changed while it was measured"):
        run_job(job)


def test_another_bundle_than_the_measured_one_keeps_its_figures(tmp_path, monkeypatch, capsys) -> None:  # fmt: skip
    bundle = tmp_path / "companion-follow"
    shutil.copytree(BUNDLES / "companion-follow", bundle)

    def replaced(jobs: list[Job], *_: Any) -> list[dict[str, Any]]:
        (bundle / "manifest.toml").write_text("another")
        return [row("ablation", job.episode.seed) for job in jobs]

    monkeypatch.setattr(command, "run_all", replaced)
    parser = argparse.ArgumentParser(description="")
    command.add_arguments(parser)
    args = parser.parse_args(
        f"--bundle {bundle} --seeds 1 --only ablation --write --work {tmp_path}".split()
    )
    assert command.evaluate(args) == 0
    assert "another bundle than the one that was measured" in capsys.readouterr().err
    assert (bundle / "manifest.toml").read_text() == "another"


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


def test_quiet_hours_are_those_in_which_it_drove() -> None:
    rows = [row("quiet", i, active_s=180.0 * i, holds=0, alarms=i) for i in range(2)]
    assert len(table({"bundle": "b", **summary(rows, LEVELS)})) == 2
    assert summary(rows + [row("ablation", 7)], LEVELS)["seeds"] == 1, "quiet's are its own"
    assert summary(rows, LEVELS)["quiet"] == {"hours": 0.05, "holds": 0, "alarms": 1, "episodes": 2}


def test_a_baseline_without_a_model_is_told_by_what_is_less_as_well() -> None:
    """A frozen camera's frames differ by nothing: that is less than usual, and tells it well."""
    rng = np.random.default_rng(4)
    rows = []
    for _ in range(8):
        difference = rng.uniform(1, 2, START + 40)
        difference[START : START + LAST] = 0.0
        rows.append({"values": np.zeros((START + 40, len(SURPRISE_CHANNELS))).tolist(),
                     "difference": difference.tolist(), "energy": np.ones(START + 40).tolist()})  # fmt: skip
    found = {name: areas(v) for name, v in scores(rows, LEVELS).items()}
    assert found["raw_difference"][0] == 0.0 and found["raw_difference_either"][0] == 1.0


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


def test_a_frozen_camera_shows_in_its_ten_frames_and_in_no_other() -> None:
    row = run_event(Episode(DEFAULT_BUNDLE, 31_000_100, scenario="default"), "freeze")
    frozen = np.array(row["values"], float)[:, SURPRISE_CHANNELS.index("frozen")]
    odd = np.flatnonzero(frozen > 0.5)
    assert set(odd) <= set(range(START, START + LAST)) and len(odd) >= LAST - 1
    assert row["first_alarm"] is not None and row["first_alarm"] <= 4
    assert len(row["values"]) == len(row["difference"]) == len(row["energy"])


@pytest.mark.parametrize("kind", ["blackout", "frozen"])
def test_who_is_left_without_sight_drives_all_the_same(kind: str) -> None:
    """Else it would follow nobody because it never started, whatever its policy goes by."""
    row = run_episode(Episode(DEFAULT_BUNDLE, 31_000_101, scenario="default", kind=kind, duration_s=2.0))  # fmt: skip
    assert row["active_s"] > 1.5 and row["mode_final"] == "active"


def test_who_never_starts_has_done_nothing(monkeypatch) -> None:
    monkeypatch.setattr("tools.lockstep_run.START_LIMIT_NS", 300_000_000)
    monkeypatch.setattr(episodes_module, "_world", lambda setup, _kind: open_world(setup)[0])
    monkeypatch.setattr("tools.lockstep_run.ChannelCamera", lambda reader: DarkCamera(ChannelCamera(reader)))  # fmt: skip
    row = run_episode(Episode(DEFAULT_BUNDLE, 31_000_102, scenario="default", duration_s=0.5))
    assert row["active_s"] == 0 and row["success"] is False and row["metrics"] == {}


@pytest.mark.parametrize("whole", [True, False])
def test_figures_of_some_parts_do_not_pass_for_those_of_all_seeds(whole, tmp_path, monkeypatch) -> None:  # fmt: skip
    fields: dict[str, Any] = {"metrics": {"old": 1.0, "seeds": 100.0, "episodes": 900.0}}
    monkeypatch.setattr(command, "resign", lambda path, change: change(fields))
    command._write(tmp_path, {"new": 2.0, "seeds": 8, "episodes": 16}, whole)
    if whole:
        assert fields["metrics"] == {"new": 2.0, "seeds": 8.0, "episodes": 16.0}
    else:
        assert fields["metrics"] == {"old": 1.0, "new": 2.0}


def test_metrics_of_a_manifest_are_flat_numbers() -> None:
    found = {"skills": {"follow": {"success": 0.9, "success_ci95": (0.8, 1.0)}}, "bundle": "x"}
    assert flat(found) == {"skills.follow.success": 0.9}
    assert json.dumps(flat(found))
