"""Networks read back from a bundle are the ones that were exported, or are refused."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the networks need torch: `make train` installs it")
onnx = pytest.importorskip("onnx", reason="export needs onnx: `make train` installs it")

import msgspec  # noqa: E402
from onnx import TensorProto, helper, numpy_helper  # noqa: E402

from models.bundle import Bundle  # noqa: E402
from models.errors import BundleError  # noqa: E402
from models.weights import read_networks, tensors_of  # noqa: E402
from tests.models import tiny  # noqa: E402

pytestmark = pytest.mark.heavy


@pytest.fixture(scope="module")
def bundle(tmp_path_factory) -> Bundle:
    return tiny.write(tmp_path_factory.mktemp("weights") / "tiny", *tiny.networks())


def test_what_was_exported_is_read_back_bit_for_bit(bundle: Bundle) -> None:
    world, policy = tiny.networks()
    read_world, read_policy, on_rate = read_networks(bundle)
    assert read_world.s == replace(tiny.SIZES, view=read_world.s.view)
    for old, new in ((world, read_world), (policy, read_policy)):
        mine, theirs = (
            {k: v for k, v in net.state_dict().items() if not k.startswith("aid.")}
            for net in (old, new)
        )
        assert mine.keys() == theirs.keys()
        assert all(torch.equal(mine[k], theirs[k]) for k in mine)
    assert torch.allclose(on_rate, torch.linspace(0.1, 0.9, tiny.SIZES.hidden), atol=1e-6)


def test_equal_tensors_that_are_stored_once_are_found(tmp_path: Path) -> None:
    torch.manual_seed(0)  # fresh normalisations are all alike
    world, policy = tiny.WorldModel(tiny.SIZES).eval(), tiny.Policy(tiny.SIZES).eval()
    read, _, _ = read_networks(tiny.write(tmp_path / "tiny", world, policy))
    assert torch.equal(read.trunk[1].weight, world.trunk[1].weight)


@pytest.mark.parametrize(
    ("graph", "tensor"),
    [("observe", "w.post_net.0.weight"), ("decode", "w.decoder.start.weight"), ("policy", "body.5.bias")],
)  # fmt: skip
def test_a_changed_weight_misses_the_golden_vectors(bundle, tmp_path, graph, tensor) -> None:
    wrong = tiny.altered(bundle, tmp_path / "wrong", graph, tensor, 5.0)
    with pytest.raises(BundleError, match=f"golden vectors of {graph}"):
        read_networks(wrong)


def test_graphs_of_two_trainings_are_told_apart(bundle: Bundle, tmp_path: Path) -> None:
    wrong = tiny.altered(bundle, tmp_path / "wrong", "imagine", "w.gates.weight", 0.01)
    with pytest.raises(BundleError, match=r"imagine.onnx holds another gates.weight"):
        read_networks(wrong)


def test_a_strangers_graph_is_refused_by_the_tensor_that_it_lacks(bundle, tmp_path) -> None:
    stranger = tiny.altered(bundle, tmp_path / "stranger", "policy", "belief.bias", 0.0)
    file = stranger.path / "policy.onnx"
    model = onnx.load(str(file))
    next(t for t in model.graph.initializer if t.name == "belief.bias").name = "other"
    onnx.save(model, str(file))
    with pytest.raises(BundleError, match=r"no tensor belief.bias .* was not written by"):
        read_networks(stranger)


def test_other_sizes_are_refused(bundle: Bundle) -> None:
    m = bundle.manifest
    wider = replace(bundle, manifest=msgspec.structs.replace(m, skills=(*m.skills, "dance")))
    with pytest.raises(BundleError, match=r"reward.0.weight of the world model is \(128, 34\)"):
        read_networks(wider)


def test_a_transposed_constant_gets_its_modules_name() -> None:
    matrix = np.arange(6, dtype=np.float32).reshape(2, 3)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "onnx::MatMul_7"], ["y"], name="/post_net/post_net.0/MatMul")],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 2])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 3])],
        [numpy_helper.from_array(matrix, "onnx::MatMul_7")],
    )  # fmt: skip
    assert np.array_equal(tensors_of(helper.make_model(graph))["post_net.0.weight"], matrix.T)
