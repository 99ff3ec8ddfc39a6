"""Evaluation's own arithmetic: figures, intervals, resuming, and levels of alarm."""

import argparse
import json
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from msgspec import structs

from models.bundle import BUNDLES, find_bundle, load_bundle
from models.manifest import Threshold
from runtime.body import load_body
from runtime.camera import ChannelCamera
from runtime.errors import ConfigError, RuntimeFault
from runtime.surprise import SURPRISE_CHANNELS
from tools import played
from tools.compose import DEFAULT_BUNDLE, open_world
from tools.evaluate import command
from tools.evaluate import episodes as episodes_module
from tools.evaluate import jobs as jobs_module
from tools.evaluate.command import flat, played_sha, seed_range, table
from tools.evaluate.episodes import Episode, run_episode
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
from tools.evaluate.summary import bootstrap, summary, wilson
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


def arguments(text: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="")
    command.add_arguments(parser)
    return parser.parse_args(text.split())


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


def test_whether_more_candidates_are_worth_more_has_an_interval_too() -> None:
    rows = [row("planning", i, success=n > 8, foresight=n) for i in range(20) for n in (1, 8, 32)]
    candidates = summary(rows, LEVELS)["planning"]["candidates"]
    assert "success_gain_by_more" not in candidates["8"], "its gain says it already"
    assert candidates["8"]["success_gain"] == 0.0
    assert candidates["32"]["success_gain_by_more_ci95"] == (1.0, 1.0)


def test_an_episode_that_never_began_has_earned_nothing() -> None:
    """Its row has no metrics; it must not keep all the others from being told."""
    none = {"success": False, "metrics": {}}
    rows = [row("planning", i, foresight=n) for i in range(4) for n in (1, 8)]
    rows += [row("planning", 9, foresight=1), {**row("planning", 9, foresight=8), **none}]
    rows += [{**row("follow", 9, open_loop=open_loop(0.2)), **none}, row("expert", 9)]
    found = summary(rows, LEVELS)
    assert found["planning"]["candidates"]["8"]["return_gain"] == pytest.approx(-0.8 / 5, abs=1e-4)
    assert found["skills"]["follow"]["return_vs_expert"] == 0.0


def test_alarms_and_holds_are_told_of_every_scene_and_skill() -> None:
    rows = [row("skills", i, skill="search", active_s=36.0, holds=1, alarms=2) for i in range(10)]
    rows += [row("follow", 0, scenario=s, open_loop=open_loop(0.2), active_s=36.0, holds=0, alarms=0) for s in ("easy", "hard")]  # fmt: skip
    found = summary(rows, LEVELS)
    assert found["driven"]["search_hard"] == {
        "hours": 0.1,
        "holds": 10,
        "alarms": 20,
        "episodes": 10,
    }
    assert set(found["driven"]) == {"search_hard", "follow_easy", "follow_hard"}
    said = "\n".join(table({"bundle": "b", **found}))
    assert "search hard: 0.10 hours driven, 10 holds, 20 false alarms" in said


def test_intervals() -> None:
    assert wilson(9, 10) == (0.5958, 0.9821)  # as tabulated
    assert bootstrap(50, lambda i: float(np.ones(50)[i].mean())) == (1.0, 1.0)


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


def test_time_left_goes_by_how_long_episodes_last(tmp_path: Path, monkeypatch) -> None:
    """An hour of following is few episodes, and they come last: ten of 20 s, then one of ten minutes."""
    now = [0.0]

    def run_job(job: Job) -> dict[str, Any]:
        now[0] += job.virtual_s
        return {"key": job.key, **row(job.part, job.episode.seed)}

    monkeypatch.setattr(jobs_module, "run_job", run_job)
    monkeypatch.setattr(jobs_module, "time", SimpleNamespace(monotonic=lambda: now[0]))
    jobs = [Job("follow", Episode("b", seed)) for seed in range(10)]
    jobs.append(Job("quiet", Episode("b", 10, duration_s=600.0)))
    said: list[str] = []
    run_all(jobs, tmp_path, Here(), said.append)  # type: ignore[arg-type]
    assert said[0] == "1 of 11 episodes, 13 min left"
    assert said[-2:] == ["10 of 11 episodes, 10 min left", "11 of 11 episodes, 0 min left"]


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
    args = arguments(f"--bundle {bundle} --seeds 2 --only ablation --write --work {tmp_path}")
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


@pytest.mark.parametrize("first", [5_000_000, 11_999_999])
def test_figures_of_seeds_that_were_trained_or_tuned_on_are_not_signed(tmp_path, first) -> None:
    args = arguments(f"--seeds {first}:{first + 2} --write --work {tmp_path}")
    with pytest.raises(ConfigError, match="signs figures of fresh seeds"):
        command.evaluate(args)


@pytest.mark.parametrize("what", ["code", "bundle", "no bundle"])
def test_a_row_is_of_the_code_and_the_bundle_that_it_was_asked_of(what, tmp_path, monkeypatch) -> None:  # fmt: skip
    (tmp_path / "manifest.toml").write_text("one")
    monkeypatch.setattr(jobs_module, "run_episode", lambda episode: row("ablation", episode.seed))
    (job,) = pinned([Job("ablation", Episode(str(tmp_path), 1))], tmp_path)
    assert run_job(job)["seed"] == 1 and job.key == Job(job.part, job.episode).key
    if what == "code":
        monkeypatch.setattr(jobs_module, "code_sha", lambda: "another")
    elif what == "bundle":
        (tmp_path / "manifest.toml").write_text("another")
    else:  # for a moment, as another takes its place
        (tmp_path / "manifest.toml").unlink()
    named = "code" if what == "code" else "bundle"
    with pytest.raises(RuntimeFault, match=f"the {named} changed while it was measured"):
        run_job(job)


def test_another_bundle_than_the_measured_one_keeps_its_figures(tmp_path, monkeypatch, capsys) -> None:  # fmt: skip
    bundle = tmp_path / "companion-follow"
    shutil.copytree(BUNDLES / "companion-follow", bundle)

    def replaced(jobs: list[Job], *_: Any) -> list[dict[str, Any]]:
        (bundle / "manifest.toml").write_text("another")
        return [row("ablation", job.episode.seed) for job in jobs]

    monkeypatch.setattr(command, "run_all", replaced)
    args = arguments(f"--bundle {bundle} --seeds 1 --only ablation --write --work {tmp_path}")
    assert command.evaluate(args) == 0
    assert "another bundle than the one that was measured" in capsys.readouterr().err
    assert (bundle / "manifest.toml").read_text() == "another"


def test_quiet_hours_are_those_in_which_it_drove() -> None:
    rows = [row("quiet", i, active_s=180.0 * i, holds=0, alarms=i) for i in range(2)]
    assert len(table({"bundle": "b", **summary(rows, LEVELS)})) == 2
    assert summary(rows + [row("ablation", 7)], LEVELS)["seeds"] == 1, "quiet's are its own"
    assert summary(rows, LEVELS)["quiet"] == {"hours": 0.05, "holds": 0, "alarms": 1, "episodes": 2}


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
