"""A work folder goes on with the code and the settings that began it, and with no others."""

from dataclasses import replace
from pathlib import Path

import pytest

from models.errors import ModelError
from tools.train import work
from tools.train.pool import Pool
from tools.train.settings import TrainSettings
from tools.train.work import Stopwatch, alone, stamp


def settings(folder: Path) -> TrainSettings:
    return TrainSettings(name="a", version="1", work=folder, out=folder / "out")


def test_what_other_code_began_is_not_gone_on_with(tmp_path: Path, monkeypatch) -> None:
    stamp(settings(tmp_path))
    stamp(settings(tmp_path))
    assert work.code_sha(work.TRAINS) != work.code_sha(), "what trains counts beside what plays"
    monkeypatch.setattr(work, "code_sha", lambda *_: "another")
    with pytest.raises(ModelError, match="begun with other code"):
        stamp(settings(tmp_path))
    (tmp_path / "code.sha256").write_text("another")
    stamp(settings(tmp_path))
    (tmp_path / "expert").mkdir()
    stamp(settings(tmp_path))
    (tmp_path / "code.sha256").unlink()
    with pytest.raises(ModelError, match="begun with other code"):
        stamp(settings(tmp_path))


def test_episodes_without_their_settings_count_as_begun_by_other_code(tmp_path: Path) -> None:
    stamp(settings(tmp_path))
    (tmp_path / "settings.json").unlink()
    stamp(settings(tmp_path))
    (tmp_path / "settings.json").unlink()
    (tmp_path / "expert").mkdir()
    with pytest.raises(ModelError, match="begun with other code"):
        stamp(settings(tmp_path))


def test_other_settings_are_named_and_refused(tmp_path: Path) -> None:
    began = settings(tmp_path)
    stamp(began)
    stamp(replace(began, name="b", version="2", pool=Pool(7), threads=3, out=tmp_path / "b"))
    with pytest.raises(
        ModelError,
        match=r"--updates was 7500,6000 and is now 5; --seed was 0 and is now 3; give those",
    ):
        stamp(replace(began, updates=(5,), seed=3))
    stamp(began)
    (tmp_path / "settings.json").write_text("{")
    with pytest.raises(ModelError, match=r"settings.json cannot be read"):
        stamp(began)


def test_the_time_goes_on_from_what_was_noted(tmp_path: Path) -> None:
    (tmp_path / "seconds.txt").write_text("40")
    Stopwatch(tmp_path / "seconds.txt", lambda _: None).say("a")
    assert (tmp_path / "seconds.txt").read_text() == "40"
    (tmp_path / "seconds.txt").write_text("")
    with pytest.raises(ModelError, match="holds no number of seconds"):
        Stopwatch(tmp_path / "seconds.txt", lambda _: None)


def test_two_trainings_in_one_folder_are_refused(tmp_path: Path) -> None:
    with alone(tmp_path), pytest.raises(ModelError, match="another training runs"), alone(tmp_path):
        pass
    with alone(tmp_path):
        pass
