"""Parity finds what differs, and says nothing of what does not."""

import json
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the networks need torch: `make train` installs it")
pytest.importorskip("onnx", reason="export needs onnx: `make train` installs it")

from models.backend import golden_error  # noqa: E402
from models.bundle import Bundle  # noqa: E402
from models.errors import GraphError  # noqa: E402
from models.manifest import GRAPHS  # noqa: E402
from models.observations import smooth  # noqa: E402
from models.parity import GOAL, OpenVinoSession, compare  # noqa: E402
from tests.models import tiny  # noqa: E402
from tools import companion  # noqa: E402
from tools.model_parity import at_once, in_a_loop  # noqa: E402

pytestmark = pytest.mark.heavy
HERE = ("torch", "onnx.reference", "ort-cpu")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory) -> Bundle:
    return tiny.write(tmp_path_factory.mktemp("parity") / "tiny", *tiny.networks())


def test_all_runtimes_agree_on_every_graph(bundle: Bundle) -> None:
    found = at_once(bundle)
    for name in HERE:
        assert set(found[name]) == set(GRAPHS)
        assert all(row["ok"] and row["max_abs"] <= GOAL for row in found[name].values()), name
    assert "absent" in found["ort-cuda"] and "absent" in found["tensorrt"]


def test_openvino_agrees_as_well(bundle: Bundle) -> None:
    pytest.importorskip("openvino", reason="a second runtime: pip install '.[parity]'")
    for graph in GRAPHS:
        assert golden_error(OpenVinoSession(bundle, graph), bundle.golden(), graph) <= GOAL


def test_without_openvino_it_says_how_to_get_it(bundle: Bundle, monkeypatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(GraphError, match="parity"):
        OpenVinoSession(bundle, "policy")


def test_a_changed_weight_is_found_in_its_graph(bundle: Bundle, tmp_path: Path) -> None:
    wrong = tiny.altered(bundle, tmp_path / "wrong", "observe", "w.post_net.0.weight", 0.5)
    found = at_once(wrong)
    assert not found["ort-cpu"]["observe"]["ok"] and not found["onnx.reference"]["observe"]["ok"]
    assert found["ort-cpu"]["policy"]["ok"]
    assert "golden vectors of observe" in found["torch"]["absent"]
    (row,) = in_a_loop([wrong], wrong, [smooth(bundle.manifest, 5, 0)], 5).values()
    assert not row["ok"]


def test_a_loop_of_the_same_weights_stays_together_and_of_others_does_not(bundle, tmp_path) -> None:
    sequences = [smooth(bundle.manifest, 40, 0)]
    same = in_a_loop([bundle], bundle, sequences, 40)["fp32"]
    assert same["ok"] and same["belief_max"] < 1e-4 and same["steps"] == 40
    wrong = tiny.altered(bundle, tmp_path / "other", "observe", "w.gates.bias", 3.0)
    other = in_a_loop([wrong], bundle, sequences, 40)["fp32"]
    assert not other["ok"] and other["senses_max"] > same["senses_max"]


def test_figures_of_a_loop_are_what_they_say() -> None:
    a, b = np.zeros((30, 4), np.float32), np.zeros((30, 4), np.float32)
    a[:, 1], b[:, 1] = 1, 1
    b[-1, 1:3] = (0, 1)  # another class in the last step only
    people = np.zeros((30, 2, 5), np.float32)
    people[:, 0, 0] = 0.9  # the second person is not there

    def heads(beliefs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        moved = people.copy()
        moved[:, 0, 1] = beliefs[:, 2] * 0.5
        moved[:, 1, 1] = beliefs[:, 2] * 99
        return moved, beliefs[:, :2]

    d = compare(a, b, slice(1, 4), heads)
    assert d.belief_max == 0.5 and d.belief_end == pytest.approx(0.5 / 20)
    assert d.classes_apart == pytest.approx(1 / 30)
    assert d.person_max_m == 0.5 and d.person_end_m == pytest.approx(0.5 / 20)
    assert d.senses_max == 0.5


def test_the_command_prints_one_object_and_fails_on_a_lie(bundle, monkeypatch, capsys) -> None:
    monkeypatch.setattr("tools.model_parity.GRAPHS", ("observe", "policy"))  # the quick ones
    argv = ["model", "parity", "--bundle", str(bundle.path), "--steps", "20", "--json"]
    assert companion.main([*argv, "--precisions", "int8"]) in (0, 1)
    found = json.loads(capsys.readouterr().out)
    assert set(found) == {"bundle", "version", "precision", "goal", "parity", "drift", "ok"}
    assert set(found["drift"]) == {"fp32", "int8"}
    assert found["drift"]["fp32"]["ok"] and found["parity"]["onnx.reference int8"]["observe"]["ok"]
    monkeypatch.setattr("tools.model_parity.GOAL", -1.0)
    assert companion.main(argv) == 1
    capsys.readouterr()
    assert companion.main(argv[:-1]) == 1
    assert "NOT OK: observe, policy" in capsys.readouterr().out
