"""Files of a training that are cut are told with their names, and what to do."""

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs torch: `make train` installs it")

from models.errors import ModelError  # noqa: E402
from models.kept import fill, load, save  # noqa: E402
from models.training import Episodes  # noqa: E402

pytestmark = pytest.mark.heavy


def test_what_is_written_reads_back_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    module = torch.nn.Linear(2, 2)
    save(module.state_dict(), tmp_path / "a.pt")
    fill(tmp_path / "a.pt", torch.nn.Linear(2, 2), load(tmp_path / "a.pt"))
    assert [p.name for p in tmp_path.iterdir()] == ["a.pt"]
    with pytest.raises(ModelError, match="another version"):
        fill(tmp_path / "a.pt", torch.nn.Linear(3, 2), load(tmp_path / "a.pt"))


def test_a_full_disk_is_told_and_leaves_nothing(tmp_path: Path, monkeypatch) -> None:
    def full(_: object, file: Path) -> None:
        file.write_bytes(b"some")
        raise RuntimeError("PytorchStreamWriter failed writing file data/1")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(ModelError, match=r"a.pt cannot be written.*disk full"):
        save({}, tmp_path / "a.pt")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.99])
def test_a_cut_file_is_named(share: float, tmp_path: Path) -> None:
    save({"a": torch.zeros(1000)}, tmp_path / "a.pt")
    np.savez(tmp_path / "e.npz", action=np.zeros((2, 1000, 2)))
    for name in ("a.pt", "e.npz"):
        raw = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(raw[: int(share * len(raw))])
    with pytest.raises(ModelError, match=r"a.pt is cut .*delete it"):
        load(tmp_path / "a.pt")
    with pytest.raises(ModelError, match=r"e.npz is no .npz.*delete it"):
        Episodes([tmp_path / "e.npz"])


@pytest.mark.parametrize("garbage", [b"garbage" * 99, b"\x80\x02}q\x00."])
def test_garbage_is_named(garbage: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.pt").write_bytes(garbage)
    (tmp_path / "e.npz").write_bytes(garbage)
    with pytest.raises(ModelError, match="delete it|another version"):
        fill(tmp_path / "a.pt", torch.nn.Linear(2, 2), load(tmp_path / "a.pt"))
    with pytest.raises(ModelError, match="delete it"):
        Episodes([tmp_path / "e.npz"])
    np.savez(tmp_path / "e.npz", other=np.zeros(3))
    with pytest.raises(ModelError, match="delete it"):
        Episodes([tmp_path / "e.npz"])
