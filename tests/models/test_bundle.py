"""A bundle is refused as a whole: every kind of damage, each with a sentence that says what to do."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from models.backend import select
from models.backends import loaders
from models.bundle import BUNDLES, find_bundle, load_bundle
from models.errors import BundleError, GraphError, ModelError
from models.layout import GOAL_SIZE
from models.manifest import GRAPHS
from models.policy import GraphPolicy
from runtime.body import load_body
from tools.compose import check_alarms
from tools.train.signing import resign

NAME = "companion-follow"


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    shutil.copytree(BUNDLES / NAME, tmp_path / NAME)
    return tmp_path / NAME


@pytest.fixture
def layout():
    return load_body("companion").layout()


def test_the_committed_bundle_loads_and_is_marked_development(layout) -> None:
    loaded = load_bundle(find_bundle(NAME), layout)
    assert loaded.signed_by == "development"
    assert set(loaded.manifest.graphs) == set(GRAPHS)
    assert sum(f.stat().st_size for f in loaded.path.iterdir()) <= 10e6


@pytest.mark.parametrize("graph", GRAPHS)
def test_every_graph_meets_its_golden_vectors(layout, graph: str) -> None:
    loaded = load_bundle(find_bundle(NAME), layout)
    chosen = select(loaded, graph, ["ort-cpu"], loaders(Path("nowhere")))
    assert chosen.backend == "ort-cpu"
    assert chosen.degraded is None
    assert chosen.worst_error <= loaded.manifest.graphs[graph].tolerance["fp32"]


@pytest.mark.parametrize("file", ["manifest.toml", "manifest.sig", "observe.onnx", "golden.npz"])
def test_a_missing_file_is_named(bundle: Path, layout, file: str) -> None:
    (bundle / file).unlink()
    with pytest.raises(BundleError, match=file):
        load_bundle(bundle, layout)


@pytest.mark.parametrize("file", ["observe.onnx", "policy.onnx", "golden.npz"])
def test_a_cut_or_altered_file_is_named(bundle: Path, layout, file: str) -> None:
    data = bytearray((bundle / file).read_bytes())
    data[len(data) // 2] ^= 1
    (bundle / file).write_bytes(data)
    with pytest.raises(BundleError, match=f"{file} has sha256"):
        load_bundle(bundle, layout)
    (bundle / file).write_bytes(data[:1000])
    with pytest.raises(BundleError, match="cut or altered"):
        load_bundle(bundle, layout)


def test_a_changed_manifest_breaks_the_signature(bundle: Path, layout) -> None:
    file = bundle / "manifest.toml"
    file.write_text(file.read_text().replace('version = "', 'version = "9', 1))
    with pytest.raises(BundleError, match="not signed by a trusted key"):
        load_bundle(bundle, layout)


def test_a_strangers_signature_is_refused_until_trusted(bundle: Path, layout) -> None:
    key = Ed25519PrivateKey.generate()
    (bundle / "manifest.sig").write_bytes(key.sign((bundle / "manifest.toml").read_bytes()))
    with pytest.raises(BundleError, match="trusted"):
        load_bundle(bundle, layout)
    public = key.public_key().public_bytes_raw()
    assert load_bundle(bundle, layout, {"friend": public}).signed_by == "friend"


def test_another_body_is_refused(bundle: Path, layout) -> None:
    with pytest.raises(BundleError, match="for body companion, this is body other"):
        load_bundle(bundle, replace(layout, body="other"))


def test_another_layout_is_refused_by_field(bundle: Path, layout) -> None:
    joints = (replace(layout.joints[0], velocity_max_rad_s=5.0), *layout.joints[1:])
    with pytest.raises(BundleError, match="layout actions differs"):
        load_bundle(bundle, replace(layout, joints=joints))


@pytest.mark.parametrize("scale", [[1.0, 1.0, 0.25], [1.0, 1.0, 0.0, 0.25], [1.0, 1.0, 1.5, 1.0]])
def test_a_policy_scale_that_means_nothing_is_refused(bundle: Path, layout, scale) -> None:
    resign(bundle, lambda fields: fields.update(policy_scale=scale))
    with pytest.raises(BundleError, match="policy_scale is .* needs 4 numbers"):
        load_bundle(bundle, layout)


def test_a_bundle_that_does_not_say_what_its_policys_action_means_is_refused(
    bundle: Path, layout
) -> None:
    """From before the head turned as fast as it is told: it would turn at four times its rate."""
    resign(bundle, lambda fields: fields.pop("policy_scale"))
    with pytest.raises(BundleError, match="policy_scale"):
        load_bundle(bundle, layout)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda f: f.update(name="../evil"), "name"),
        (lambda f: f.update(skills=f["skills"][::-1]), "skills"),
        (lambda f: f["camera"].update(fx=0.0), "camera"),
        (lambda f: f["camera"].update(fy=float("nan")), "camera"),
        (lambda f: f["surprise"]["drive"].update(event=float("nan")), "surprise.drive"),
        (lambda f: f["surprise"]["drive"].update(frames=0), "surprise.drive"),
        (lambda f: f.update(belief=719), "belief of observe .*720.*719"),
        (lambda f: f.update(candidates=32), "belief of imagine .*64.*32"),
        (lambda f: f.update(noise=287), "noise of observe .*288.*287"),
        (lambda f: f.update(groups=30), "noise 288 "),
        (lambda f: f["camera"].update(width=96), "frame of observe .*64.*96"),
    ],
)
def test_values_that_would_drive_or_never_hold_without_a_word_are_refused(
    bundle: Path, layout, change, said: str
) -> None:
    resign(bundle, change)
    with pytest.raises(BundleError, match=said):
        load_bundle(bundle, layout)


def test_a_bundle_without_alarm_levels_does_not_run(bundle: Path, layout) -> None:
    check_alarms(load_bundle(bundle, layout))
    resign(bundle, lambda fields: fields["surprise"].pop("vibration"))
    with pytest.raises(BundleError, match="vibration"):
        check_alarms(load_bundle(bundle, layout))


def test_a_full_disk_leaves_the_old_manifest_with_its_signature(
    bundle: Path, layout, monkeypatch
) -> None:
    write = Path.write_bytes

    def full(path: Path, data: bytes) -> int:
        if path.name == ".manifest.toml":
            write(path, data[:100])
            raise OSError(28, "No space left on device")
        return write(path, data)

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space"):
        resign(bundle, lambda fields: fields.update(version="new"))
    assert load_bundle(bundle, layout).manifest.version != "new"
    assert not list(bundle.glob(".manifest*"))


def test_golden_vectors_that_cannot_be_read_are_named(bundle: Path, layout) -> None:
    loaded = load_bundle(bundle, layout)
    (bundle / "golden.npz").write_bytes((bundle / "golden.npz").read_bytes()[:500])
    with pytest.raises(ModelError, match=r"golden\.npz"):
        loaded.golden()


def test_the_policys_full_action_means_what_the_manifest_says(layout) -> None:
    loaded = load_bundle(find_bundle(NAME), layout)
    session = loaders(Path("nowhere"))["ort-cpu"](loaded, "policy")
    rng = np.random.default_rng(0)
    inputs = [rng.normal(size=n).astype("f4") for n in (loaded.manifest.belief, layout.proprio_size, 6, GOAL_SIZE)]  # fmt: skip
    belief, proprio, imu, goal = inputs
    raw = GraphPolicy(session, (1.0,) * 4).act(belief, 0.01, proprio, imu, 1, goal).copy()
    scaled = GraphPolicy(session, (1.0, 0.5, 0.25, 0.25)).act(belief, 0.01, proprio, imu, 1, goal)
    assert np.abs(raw).min() > 1e-3
    assert np.allclose(scaled, raw * np.array([1.0, 0.5, 0.25, 0.25]))
    session.close()


def test_an_unknown_bundle_lists_what_is_there() -> None:
    with pytest.raises(BundleError, match=NAME):
        find_bundle("nonsense")


class Broken:
    """A session that gives wrong numbers."""

    def __init__(self, inner) -> None:
        self.inner, self.name, self.precision = inner, inner.name, inner.precision
        self.inputs, self.outputs = inner.inputs, inner.outputs

    def run(self) -> None:
        self.inner.run()
        for value in self.outputs.values():
            value += np.nan

    def close(self) -> None:
        self.inner.close()


def test_a_backend_with_wrong_numbers_loses_and_the_fallback_is_degraded(layout) -> None:
    loaded = load_bundle(find_bundle(NAME), layout)
    good = loaders(Path("nowhere"))["ort-cpu"]
    both = {"first": lambda b, g: Broken(good(b, g)), "second": good}
    chosen = select(loaded, "policy", ["first", "second"], both)
    assert chosen.backend == "second"
    assert "golden vectors differ" in (chosen.degraded or "")
    with pytest.raises(GraphError, match="none of first"):
        select(loaded, "policy", ["first"], both)


def test_absent_backends_say_why(layout) -> None:
    loaded = load_bundle(find_bundle(NAME), layout)
    with pytest.raises(GraphError, match="ort-cuda: onnxruntime .* has no CUDAExecutionProvider"):
        select(loaded, "policy", ["ort-cuda"], loaders(Path("nowhere")))
