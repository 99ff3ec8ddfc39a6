"""Alarm levels set anew: real episodes, the same networks, and nothing half done."""

import shutil
from pathlib import Path

import pytest

from models.bundle import BUNDLES, load_bundle
from runtime.body import load_body
from runtime.surprise import FLAGS, SURPRISE_CHANNELS
from tools import companion, model_levels
from tools.compose import DEFAULT_BUNDLE
from tools.evaluate import thresholds
from tools.evaluate.episodes import DURATION_S

LAYOUT = load_body("companion").layout()


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return Path(shutil.copytree(BUNDLES / DEFAULT_BUNDLE, tmp_path / "b"))


def test_the_networks_stay_and_levels_version_and_figures_go(bundle: Path, capsys) -> None:
    before = load_bundle(bundle, LAYOUT).manifest
    argv = ["model", "levels", "--bundle", str(bundle), "--version", "a", "--undisturbed", "2"]
    assert companion.main(argv) == 0
    after = load_bundle(bundle, LAYOUT).manifest  # signed
    assert after.sha256 == before.sha256 and after.training == before.training
    assert (after.version, after.metrics) == ("a", {}) and before.metrics
    assert set(after.surprise) == set(SURPRISE_CHANNELS)
    free = [c for c in SURPRISE_CHANNELS if c not in FLAGS]
    assert all(after.surprise[c].event > after.surprise[c].typical for c in free)
    assert all(after.surprise[c] != before.surprise[c] for c in free)
    said = capsys.readouterr()
    assert f"version a, was {before.version}" in said.out and "0 s left" in said.err


def test_levels_are_of_hard_scenes_and_all_skills(monkeypatch) -> None:
    """The pool is a list's own map: what episodes are asked for is what counts here."""
    asked = []

    class Listed:
        def run(self, _function, work):
            asked.extend(episode for (episode,) in work)
            return iter(())

    with pytest.raises(thresholds.RuntimeFault, match="all of 10 episodes touched"):
        thresholds.measure("b", 10, Listed(), lambda _text: None)
    assert {e.scenario for e in asked} == {"hard"} and len({e.seed for e in asked}) == 10
    assert [e.skill for e in asked] == [*DURATION_S, *DURATION_S]


@pytest.mark.parametrize("stop", [KeyboardInterrupt, thresholds.RuntimeFault("no level")])
def test_stopped_it_leaves_the_bundle_as_it_was(bundle: Path, monkeypatch, capsys, stop) -> None:
    def stopped(*_args):
        raise stop

    was = {p.name: p.read_bytes() for p in bundle.iterdir()}
    monkeypatch.setattr(model_levels, "measure", stopped)
    argv = ["model", "levels", "--bundle", str(bundle), "--version", "a"]
    assert companion.main(argv) in (1, 130)
    assert {p.name: p.read_bytes() for p in bundle.iterdir()} == was
    assert "Traceback" not in capsys.readouterr().err


def test_a_version_that_is_taken_and_a_bundle_changed_meanwhile(
    bundle, monkeypatch, capsys
) -> None:
    version = load_bundle(bundle, LAYOUT).manifest.version
    argv = ["model", "levels", "--bundle", str(bundle), "--version"]
    assert companion.main([*argv, version]) == 2
    assert f"is version {version} already" in capsys.readouterr().err

    def meddled(*_args):
        model_levels.resign(bundle, lambda fields: fields.update(version="other"))
        return {}

    monkeypatch.setattr(model_levels, "measure", meddled)
    assert companion.main([*argv, "a"]) == 1
    assert "was changed meanwhile" in capsys.readouterr().err
    assert load_bundle(bundle, LAYOUT).manifest.version == "other"
