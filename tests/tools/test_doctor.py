"""The doctor: what is missing is named with what to do, and counts only where it is needed."""

import json
import shutil
import sys
from argparse import Namespace
from pathlib import Path

import pytest

from models.bundle import BUNDLES
from tools import doctor


def findings(capsys: pytest.CaptureFixture[str]) -> tuple[int, dict[str, dict]]:
    code = doctor.main(Namespace(json=True))
    found = json.loads(capsys.readouterr().out)
    assert found["ok"] == (code == 0)
    return code, {f["name"]: f for f in found["findings"]}


def test_a_machine_with_everything_is_well(capsys) -> None:
    code, found = findings(capsys)
    assert code == 0
    for name in ("python", "numpy", "onnxruntime", "C compiler", "bundle", "backend ort-cpu", "disk for logs"):  # fmt: skip
        assert found[name]["ok"], found[name]
    assert "signed by development" in found["bundle"]["found"]


@pytest.mark.parametrize(
    ("module", "name", "do"),
    [("onnxruntime", "onnxruntime", ".[cpu]"), ("mujoco", "mujoco (twin)", ".[twin]"), ("zmq", "pyzmq", "make setup")],
)  # fmt: skip
def test_a_missing_package_is_named_with_what_to_install(capsys, monkeypatch, module, name, do) -> None:  # fmt: skip
    monkeypatch.setitem(sys.modules, module, None)
    code, found = findings(capsys)
    assert code == 1
    assert not found[name]["ok"] and do in found[name]["do"]


def test_tensorrt_that_does_not_load_says_which_library(capsys, monkeypatch, tmp_path) -> None:
    monkeypatch.delitem(sys.modules, "tensorrt", raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "tensorrt.py").write_text(
        "raise ImportError('libnvdla_compiler.so: cannot open shared object file')\n"
    )
    code, found = findings(capsys)
    assert code == 0, "TensorRT is not needed"
    assert "libnvdla_compiler.so" in found["tensorrt"]["found"]
    assert "--system-site-packages" in found["tensorrt"]["do"]


def test_a_damaged_bundle_is_found(capsys, monkeypatch, tmp_path: Path) -> None:
    shutil.copytree(BUNDLES / "companion-follow", tmp_path / "b")
    (tmp_path / "b/policy.onnx").write_bytes(b"cut")
    monkeypatch.setattr(doctor, "find_bundle", lambda _name: tmp_path / "b")
    code, found = findings(capsys)
    assert code == 1
    assert "policy.onnx has sha256" in found["bundle"]["found"]


def test_no_compiler_names_the_wheel_that_is_one(capsys, monkeypatch) -> None:
    monkeypatch.setattr(doctor, "compilers", list)
    code, found = findings(capsys)
    assert code == 1 and "ziglang" in found["C compiler"]["do"]


def test_people_read_a_line_each(capsys, monkeypatch) -> None:
    monkeypatch.setattr(doctor, "compilers", list)
    assert doctor.main(Namespace(json=False)) == 1
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith("MISS C compiler") for line in lines)
    assert any(line.startswith("ok   numpy") for line in lines)
    assert all(line.startswith(("ok   ", "MISS ", "none ", "     ")) for line in lines)
