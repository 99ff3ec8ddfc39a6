"""Where a bundle may be written: nothing but a bundle is ever replaced, and never by half of one."""

from pathlib import Path

import pytest

from models.errors import ModelError
from models.place import replacing


def names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


def test_a_folder_of_other_things_stays(tmp_path: Path) -> None:
    folder = tmp_path / "notes"
    folder.mkdir()
    with replacing(folder) as work:  # an empty one is fine
        (work / "note.txt").write_text("mine")
    with pytest.raises(ModelError, match="holds other things"), replacing(folder):
        pass
    assert names(folder) == ["note.txt"] and names(tmp_path) == ["notes"]


def test_a_bundle_is_replaced_as_a_whole_or_not_at_all(tmp_path: Path) -> None:
    folder = tmp_path / "here"
    folder.mkdir()
    (tmp_path / "link").symlink_to(folder)
    (folder / "manifest.toml").write_text("old")
    with pytest.raises(OSError, match="full"), replacing(folder) as work:
        (work / "manifest.toml").write_text("half")
        raise OSError("full")
    assert (folder / "manifest.toml").read_text() == "old"
    with replacing(tmp_path / "link") as work:
        (work / "manifest.toml").write_text("new")
    assert (folder / "manifest.toml").read_text() == "new" and (tmp_path / "link").is_symlink()
    assert names(tmp_path) == ["here", "link"]


def test_an_old_bundle_comes_back_where_the_new_one_cannot_be_moved(
    tmp_path: Path, monkeypatch
) -> None:
    folder = tmp_path / "here"
    folder.mkdir()
    (folder / "manifest.toml").write_text("old")
    rename = Path.rename

    def fails(self: Path, target: Path) -> Path:
        if target == folder and not str(self).endswith(".before"):
            raise OSError("no")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", fails)
    with pytest.raises(OSError, match="no"), replacing(folder):
        pass
    assert (folder / "manifest.toml").read_text() == "old" and names(tmp_path) == ["here"]
