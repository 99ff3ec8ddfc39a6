"""fp16 and int8 copies: smaller, within their own tolerances, and one class per group on."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the networks need torch: `make train` installs it")
onnx = pytest.importorskip("onnx", reason="export needs onnx: `make train` installs it")

from onnx import TensorProto  # noqa: E402

from models.backend import select  # noqa: E402
from models.backend_onnxruntime import OnnxRuntimeSession  # noqa: E402
from models.backends import loaders  # noqa: E402
from models.bundle import Bundle, find_bundle, load_bundle  # noqa: E402
from models.errors import BundleError, ModelError  # noqa: E402
from models.manifest import DRIFT_LIMIT, GRAPHS  # noqa: E402
from models.observations import (  # noqa: E402
    ObservationError,
    Observations,
    load,
    load_episodes,
    smooth,
)
from models.reduce import classes_on, to_fp16  # noqa: E402
from models.variant import rounded_up, write_variant  # noqa: E402
from models.weights import read_networks  # noqa: E402
from runtime.body import load_body  # noqa: E402
from tests.models import tiny  # noqa: E402
from tools import companion  # noqa: E402
from tools.compose import DEFAULT_BUNDLE  # noqa: E402
from tools.observe import record  # noqa: E402
from tools.train.signing import development_key  # noqa: E402

pytestmark = pytest.mark.heavy
KEPT_OPS = {
    "Softmax",
    "Log",
    "LayerNormalization",
    "GridSample",
    "GreaterOrEqual",
    "Softplus",
    "Div",
}
CONTROL = {"If", "Loop", "Scan", "GRU", "LSTM", "RNN"}


@pytest.fixture(scope="module")
def bundle(tmp_path_factory) -> Bundle:
    return tiny.write(tmp_path_factory.mktemp("variant") / "tiny", *tiny.networks())


@pytest.fixture(scope="module", params=["fp16", "int8"])
def variant(request, bundle: Bundle) -> Bundle:
    out = bundle.path.with_name(request.param)
    for _ in range(2):  # the second replaces the first
        write_variant(bundle, request.param, out, [], development_key())
    assert not list(out.parent.glob(".*")), "nothing half-written beside it"
    return load_bundle(out, tiny.LAYOUT)


def test_a_variant_is_a_whole_bundle_with_its_own_tolerances(bundle, variant) -> None:
    m = variant.manifest
    assert m.version == f"1-{m.precision}" and variant.signed_by == "development"
    assert set(m.drift) == {m.precision} and 0 < m.drift[m.precision] < 1
    for graph in GRAPHS:
        chosen = select(variant, graph, ["ort-cpu"], loaders(Path("nowhere")))
        assert chosen.session.precision == m.precision
        assert chosen.worst_error <= m.graphs[graph].tolerance[m.precision]
        assert variant.graph(graph).stat().st_size < bundle.graph(graph).stat().st_size
        chosen.session.close()


def test_a_variants_graphs_are_as_plain_as_the_old_ones(variant: Bundle) -> None:
    for graph in GRAPHS:
        model = onnx.load(str(variant.graph(graph)))
        assert [(o.domain, o.version) for o in model.opset_import if o.domain == ""] == [("", 17)]
        assert all(n.domain == "" for n in model.graph.node)
        assert model.ir_version <= 10
        assert not {n.op_type for n in model.graph.node} & CONTROL
        ends = [*model.graph.input, *model.graph.output]
        assert {v.type.tensor_type.elem_type for v in ends} == {TensorProto.FLOAT}


def test_what_must_be_exact_reads_no_fp16(bundle: Bundle) -> None:
    for graph in GRAPHS:
        model = to_fp16(onnx.load(str(bundle.graph(graph))))
        for node in model.graph.node:
            if node.op_type in KEPT_OPS:
                assert not [i for i in node.input if i.endswith("_fp16")], node.name
        assert any(t.data_type == TensorProto.FLOAT16 for t in model.graph.initializer)


def test_what_finds_people_stays_exact_in_int8(bundle: Bundle, tmp_path: Path) -> None:
    small = write_variant(bundle, "int8", tmp_path / "int8", [], development_key())
    graph = onnx.load(str(small.graph("observe"))).graph
    rounded = {o for n in graph.node if n.op_type == "DequantizeLinear" for o in n.output}
    weights = [n.input[1] for n in graph.node if n.op_type == "Conv"]
    finds = [w for w in weights if "finder" in w]
    assert len(finds) == 5 and not rounded & set(finds)
    assert rounded & set(weights)


@pytest.fixture(scope="module")
def recorded() -> list[Observations]:
    return [e.observations for e in record(DEFAULT_BUNDLE, 4)]  # two of them give no ranges


@pytest.mark.parametrize("precision", DRIFT_LIMIT)
def test_copies_of_the_committed_bundle_believe_what_it_does(precision, recorded, tmp_path) -> None:
    committed = load_bundle(find_bundle(DEFAULT_BUNDLE), load_body("companion").layout())
    small = write_variant(committed, precision, tmp_path / "small", recorded, development_key())
    assert small.manifest.drift[precision] <= DRIFT_LIMIT[precision]
    read_networks(small)  # an untouched copy is not told that its weights were changed


def beliefs(bundle: Bundle, noise: float) -> np.ndarray:
    session = OnnxRuntimeSession(bundle, "observe", "ort-cpu")
    rng = np.random.default_rng(1)
    out = []
    for _ in range(60):
        for name, array in session.inputs.items():
            scale = noise if name == "noise" else 1.0
            array[...] = scale * rng.gumbel(0, 1, array.shape)
        session.inputs["mask"][...] = 1
        session.run()
        out.append(session.outputs["belief_out"][0].copy())
    return np.stack(out)


@pytest.mark.parametrize("noise", [0.0, 1.0])
def test_exactly_one_class_of_each_group_is_on(bundle, variant, noise: float) -> None:
    s = tiny.SIZES
    for b in (bundle, variant):
        assert (classes_on(beliefs(b, noise), s.deter, s.groups, s.classes) == 1).all()


def test_classes_that_fp16_cannot_tell_apart_tie_unless_sampling_stays_exact(tmp_path) -> None:
    world, policy = tiny.networks()
    s = tiny.SIZES
    with torch.no_grad():
        world.post_net[3].weight.zero_()
        world.post_net[3].bias[: s.onehot] = 1 + 1e-4 * torch.arange(s.onehot)
    tied = tiny.write(tmp_path / "close", world, policy)
    ours = write_variant(tied, "fp16", tmp_path / "fp16", [], development_key())
    assert (classes_on(beliefs(ours, 0.0), s.deter, s.groups, s.classes) == 1).all()
    naive = to_fp16(onnx.load(str(tied.graph("observe"))), keep=re.compile("^$"))
    onnx.save(naive, str(tied.graph("observe")))
    assert (classes_on(beliefs(tied, 0.0), s.deter, s.groups, s.classes) > 1).any()


def test_only_an_fp32_bundle_is_reduced(variant: Bundle, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="already; export from its fp32 bundle"):
        write_variant(variant, "fp16", tmp_path / "again", [], development_key())


def test_a_variants_networks_are_read_back_rounded(bundle: Bundle, variant: Bundle) -> None:
    exact, rounded = read_networks(bundle)[0], read_networks(variant)[0]
    worst = (exact.gates.weight - rounded.gates.weight).abs().max()
    assert 0 < worst < 0.01
    assert torch.equal(exact.post_net[3].weight, rounded.post_net[3].weight)


def test_recorded_observations_read_back_and_strangers_are_refused(bundle, tmp_path) -> None:
    sequence = smooth(bundle.manifest, 5, 0)
    sequence.save(tmp_path / "a.npz")
    (found,) = load(tmp_path, bundle.manifest)
    assert np.array_equal(found.frame, sequence.frame) and np.array_equal(found.imu, sequence.imu)
    np.savez(tmp_path / "b.npz", frame=sequence.frame)
    with pytest.raises(ObservationError, match=r"b.npz has no imu, proprio"):
        load(tmp_path, bundle.manifest)
    for data in (b"", b"junk", (tmp_path / "a.npz").read_bytes()[:3000]):
        (tmp_path / "b.npz").write_bytes(data)
        with pytest.raises(ModelError, match=r"b.npz is no .npz"):
            load(tmp_path, bundle.manifest)
        with pytest.raises(ModelError, match=r"a.npz has no person_xy|b.npz is no"):
            load_episodes(tmp_path, 5, bundle.manifest)
    replace(sequence, imu=sequence.imu[:3]).save(tmp_path / "b.npz")
    with pytest.raises(ObservationError, match=r"b.npz: imu is \(3, 5, 6\)"):
        load(tmp_path, bundle.manifest)
    with pytest.raises(ObservationError, match=r"holds no .npz"):
        load(tmp_path / "nowhere", bundle.manifest) if (tmp_path / "nowhere").mkdir() is None else None  # fmt: skip


def test_a_copy_whose_numbers_are_none_is_not_written(bundle, tmp_path, monkeypatch) -> None:
    ends = iter([0.01, float("nan")])
    monkeypatch.setattr("models.variant.drift_end", lambda *_: next(ends))
    with pytest.raises(ModelError, match="numbers that are none"):
        write_variant(bundle, "fp16", tmp_path / "small", [], development_key())
    assert not list(tmp_path.iterdir())


def test_a_tolerance_is_rounded_upwards_to_two_digits() -> None:
    assert [rounded_up(v) for v in (0.001, 0.00123, 0.996, 3.2)] == [0.001, 0.0013, 1.0, 3.2]


def test_the_command_writes_a_variant_and_replaces_no_strangers_folder(bundle, tmp_path, capsys) -> None:  # fmt: skip
    argv = ["model", "export", "--bundle", str(bundle.path), "--precision", "fp16"]
    out = tmp_path / "out"
    smooth(bundle.manifest, 30, 0).save(tmp_path / "a.npz")
    code = companion.main([*argv, "--out", str(out), "--calibration", str(tmp_path / "a.npz"), "--json"])  # fmt: skip
    assert code in (0, 3) and load_bundle(out, tiny.LAYOUT).manifest.precision == "fp16"
    assert '"drift_limit"' in capsys.readouterr().out
    (tmp_path / "mine").mkdir()
    for taken in (tmp_path / "mine", bundle.path):
        assert companion.main([*argv, "--out", str(taken)]) == 2
        assert "would be replaced" in capsys.readouterr().err
    assert load_bundle(bundle.path, tiny.LAYOUT).manifest.precision == "fp32"
