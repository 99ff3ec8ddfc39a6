"""A training from nothing, as small as it gets: collect, train, aggregate, clone, export, levels."""

import csv
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="training needs torch: `make train` installs it")
pytest.importorskip("onnx", reason="export needs onnx: `make train` installs it")

from models.backend import golden_error
from models.backends import loaders
from models.bundle import load_bundle
from models.errors import ModelError
from models.layout import SKILLS
from models.manifest import GRAPHS
from runtime.body import load_body
from runtime.surprise import SURPRISE_CHANNELS
from tools.evaluate.jobs import FRESH_SEED, QUIET_SEED
from tools.evaluate.thresholds import TRAINING_SEED
from tools.model import MOST_ROUNDS, MOST_SEED
from tools.train import pipeline
from tools.train.pipeline import train
from tools.train.pool import Pool
from tools.train.settings import TrainSettings

pytestmark = pytest.mark.heavy
LAYOUT = load_body("companion").layout()


def settings(work: Path, out: Path) -> TrainSettings:
    return TrainSettings(
        name="small", version="1", work=work, out=out, episodes=2, updates=(2, 2), finder_updates=2, people_updates=2, decoder_updates=2, aggregate=2,
        demonstrations=2, policy_rounds=1, policy_updates=20, undisturbed=3, batch=2, length=16, pool=Pool(2),
    )  # fmt: skip


def stopped(*_: object) -> None:
    raise KeyboardInterrupt


def test_a_training_from_nothing_and_again_from_where_it_was(tmp_path: Path, monkeypatch) -> None:
    said: list[str] = []
    out = train(settings(tmp_path / "work", tmp_path / "small"), said.append)
    bundle = load_bundle(out, LAYOUT)
    manifest = bundle.manifest
    assert manifest.skills == SKILLS and manifest.training.updates == 4
    assert len(manifest.training.data_sha256) == 64
    assert set(manifest.surprise) == set(SURPRISE_CHANNELS)
    assert all(v.event >= v.typical for v in manifest.surprise.values())
    assert any("left" in line for line in said), "time left is told"
    with (tmp_path / "work" / "losses.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [int(r["update"]) for r in rows] == [2, 4]
    for graph in GRAPHS:
        session = loaders(Path("nowhere"))["ort-cpu"](bundle, graph)
        assert golden_error(session, bundle.golden(), graph) < 1e-4
        session.close()
    again = train(settings(tmp_path / "work", tmp_path / "again"), said.append)
    first, second = (load_bundle(p, LAYOUT).manifest for p in (out, again))
    assert first.sha256["policy.onnx"] == second.sha256["policy.onnx"], "no stage ran twice"
    assert first.training.data_sha256 == second.training.data_sha256
    before = (out / "manifest.toml").read_bytes()
    monkeypatch.setattr(pipeline, "measure", stopped)
    for folder in ("small", "new"):  # a stop in the last stage leaves what was there
        with pytest.raises(KeyboardInterrupt):
            train(settings(tmp_path / "work", tmp_path / folder), said.append)
    assert (out / "manifest.toml").read_bytes() == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["again", "small", "work"]


def test_no_two_trainings_share_an_episode_nor_one_with_an_evaluation() -> None:
    plan = TrainSettings("x", "1", Path(), Path())
    stages = [(pipeline.EXPERT_SEED, plan.episodes), (pipeline.DEMONSTRATION_SEED, plan.demonstrations)]  # fmt: skip
    rounds = len(plan.updates) + MOST_ROUNDS
    for number in range(1, rounds + 1):
        stages.append((pipeline.AGGREGATION_SEED + number * pipeline.ROUND_STRIDE, plan.aggregate))
    used = [
        pipeline.first_seed(stage, number) + episode
        for number in (0, 1, MOST_SEED - 1, MOST_SEED)
        for stage, count in stages
        for episode in range(count)
    ]
    levels = range(TRAINING_SEED, TRAINING_SEED + plan.undisturbed)
    assert len(used) == len(set(used)) and not set(used) & {*levels, *range(QUIET_SEED, QUIET_SEED + 20)}  # fmt: skip
    assert max(*used, *levels, QUIET_SEED + 20) < FRESH_SEED


def test_on_rates_are_taken_from_first_to_last() -> None:
    for count in (1, 7, 20, 21, 250):
        files = [Path(f"{n:03d}") for n in range(count)]
        found = pipeline.sampled(files)
        assert min(count, 10) <= len(found) <= pipeline.SAMPLED_FILES
        assert found == sorted(set(found)) and files.index(found[-1]) >= 0.8 * (count - 1)


def test_a_folder_of_other_things_is_refused_before_anything_starts(tmp_path: Path) -> None:
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "note.txt").write_text("mine")
    (tmp_path / "file").write_text("mine")
    work = tmp_path / "work"
    for out, why in (
        (tmp_path / "notes", "holds other things than a bundle"),
        (tmp_path / "file", "is a file"),
        (tmp_path / "file" / "bundle", "is no folder"),
        (work / "bundle1", "lie in one another"),
    ):
        with pytest.raises(ModelError, match=why):
            train(settings(work, out), lambda _: None)
    assert not work.exists() and (tmp_path / "notes" / "note.txt").read_text() == "mine"


def test_a_gpu_that_is_not_there_is_told_before_anything_starts(tmp_path: Path) -> None:
    if pytest.importorskip("torch").cuda.is_available():
        pytest.skip("this machine has a GPU")
    wanted = replace(settings(tmp_path / "work", tmp_path / "out"), device="cuda")
    with pytest.raises(ModelError, match="finds no GPU"):
        train(wanted, lambda _: None)
    assert not list(tmp_path.iterdir())
