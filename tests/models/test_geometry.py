"""Geometry measured where the answer is known."""

import json
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the networks need torch: `make train` installs it")
pytest.importorskip("onnx", reason="export needs onnx: `make train` installs it")

from torch import nn  # noqa: E402

from models import geometry as geo  # noqa: E402
from models import moments as mo  # noqa: E402
from models.bundle import Bundle  # noqa: E402
from models.observations import ObservationError, load_episodes  # noqa: E402
from models.since import Senses  # noqa: E402
from tests.models import tiny  # noqa: E402
from tools import companion  # noqa: E402
from tools import geometry as tool  # noqa: E402

pytestmark = [
    pytest.mark.heavy,
    pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning"),  # torch.func's own
]
S = tiny.SIZES


@pytest.fixture(scope="module")
def bundle(tmp_path_factory) -> Bundle:
    return tiny.write(tmp_path_factory.mktemp("geometry") / "tiny", *tiny.networks())


@pytest.fixture(scope="module")
def filtered(bundle: Bundle) -> mo.Filtered:
    return mo.Filtered(tiny.networks()[0], tiny.episodes(bundle))


def watched(net: nn.Sequential, layers: list[int]) -> geo.PatternOf:
    def patterns(points: torch.Tensor) -> torch.Tensor:
        with torch.no_grad(), geo.recorded([net[i] for i in layers]) as out:
            net(points)
        return torch.cat(out, -1) > 0 if out else points.new_zeros(len(points), 0) > 0

    return patterns


def test_a_linear_network_has_no_crossings_and_a_fold_has_one() -> None:
    a, b = torch.tensor([-1.0, 0.3]), torch.tensor([1.0, 0.4])
    net = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1))
    with torch.no_grad():
        net[0].weight.copy_(torch.tensor([[1.0, 0], [0, 1], [2, 0]]))
        net[0].bias.copy_(torch.tensor([0.05, 0, 5]))
    assert geo.crossings(watched(nn.Sequential(nn.Linear(2, 3)), []), a, b) == 0
    assert geo.crossings(watched(net, [0]), a, b) == 1
    assert geo.crossings(watched(net, [0]), a, a) == 0


def test_the_networks_own_patterns_count_every_relu(filtered: mo.Filtered) -> None:
    e, t = filtered.moments(2)
    points = filtered.points(e, t)
    on = geo.pattern_of(filtered.world, filtered.belief[e[0], t[0], : S.deter][None])(points)
    convolutions = (16 + 32) * 1024 + 2 * 48 * 256 + 48 * 64 + 48 * 16
    assert on.shape == (2, convolutions + (S.embed + 128) + S.embed + S.hidden)
    assert geo.unflatten(points, S.proprio)[1].shape == (2, 5, 6)


@pytest.mark.parametrize("factor", [0.5, 1.0, 3.0])
def test_the_gain_of_a_known_map_is_found(factor: float) -> None:
    q, _ = torch.linalg.qr(torch.randn(6, 6, generator=torch.Generator().manual_seed(0)))
    stretch = torch.diag(torch.tensor([factor, 0.3, 0.2, 0.1, 0.1, 0.1]) if factor > 0.3 else None)
    x = torch.zeros(4, 6)
    assert geo.gain(lambda v: v @ (stretch @ q), x, 20).tolist() == pytest.approx([factor] * 4, rel=1e-4)  # fmt: skip


def test_a_cell_that_forgets_has_the_gain_of_its_gate_and_a_stretched_one_is_above_1() -> None:
    world, _ = tiny.networks()
    with torch.no_grad():
        for layer in (world.gates, world.prior_net[3]):
            layer.weight.zero_()
        world.gates.bias.zero_()
        world.gate_norm.bias.zero_()
    x, actions = torch.rand(3, S.core), torch.zeros(3, 12, S.action)
    keep = 1 - torch.sigmoid(torch.tensor(-1.0)).item()
    for steps in (1, 5, 12):
        found = geo.gain(geo.soft_steps(world, actions[:, :steps]), x, 20)
        assert found.tolist() == pytest.approx([keep**steps] * 3, rel=1e-3)
    wild, _ = tiny.networks()
    with torch.no_grad():
        wild.prior_net[3].weight *= 40
    assert (geo.gain(geo.soft_steps(wild, actions[:, :1]), x, 20) > 1).all()


def test_rarity_tells_planted_patterns_from_those_of_training() -> None:
    g = torch.Generator().manual_seed(0)
    on_rate = torch.rand(40, generator=g)
    usual = (torch.rand(60, 40, generator=g) < on_rate).float() - 0.5
    planted = (torch.rand(60, 40, generator=g) >= on_rate).float() - 0.5
    low, high = geo.rarity(usual, on_rate).numpy(), geo.rarity(planted, on_rate).numpy()
    assert geo.auroc(low, high) > 0.95
    assert geo.auroc(low, low) == pytest.approx(0.5)


def test_rarity_is_what_the_graph_says(bundle: Bundle, filtered: mo.Filtered) -> None:
    from models.backend_onnxruntime import OnnxRuntimeSession

    session = OnnxRuntimeSession(bundle, "observe", "ort-cpu")
    sequence = tiny.episodes(bundle)[0].observations
    feed = sequence.feed(30, filtered.belief[0, 29].numpy(), S.stoch)
    for name, value in feed.items():
        session.inputs[name][...] = value
    session.run()
    rates = torch.linspace(0.1, 0.9, S.hidden)
    ours = geo.rarity(filtered.hidden[0, 30:31], rates)
    assert ours.item() == pytest.approx(float(session.outputs["rarity"][0, 0]), abs=1e-5)


def test_rank_statistics() -> None:
    a = np.array([1.0, 2, 3, 4, 5, 6, 7, 8])
    assert geo.spearman(a, a**3) == pytest.approx(1) and geo.spearman(a, -a) == pytest.approx(-1)
    assert np.isnan(geo.spearman(a, np.ones(8))) and np.isnan(geo.spearman(a[:5], a[:5]))
    assert geo.ranked(np.array([5.0, 1, 5])).tolist() == [2.5, 1, 2.5]
    assert geo.auroc(np.array([0.0, 1]), np.array([1.0, 2])) == pytest.approx(0.875)


def test_rollouts_stay_bounded_and_a_forgetting_cell_brings_them_together() -> None:
    world, policy = tiny.networks()
    starts = torch.zeros(3, S.belief)
    for drive in (geo.random_drive(S.action, 3, 0), geo.policy_drive(world, policy, 1)):
        g = geo.grow(world, starts, drive, 30, 0)
        assert g.h.shape == (30, 3) and g.h.max() <= 1 and np.isfinite(g.person_m).all()
    with torch.no_grad():
        world.gates.weight.zero_()
    g = geo.grow(world, starts, geo.random_drive(S.action, 3, 0), 30, 0)
    assert (g.apart[-1] < g.apart[0]).all() and g.apart[0].max() < geo.APART * 2


def test_moments_have_warnings_and_errors(filtered: mo.Filtered) -> None:
    senses = Senses.of(tiny.LAYOUT)
    e, t = filtered.moments(12)
    assert t.min() >= mo.WARM_UP and t.max() + mo.AHEAD < filtered.length
    warnings, wrong = mo.plain_warnings(filtered, e, t, senses), mo.errors(filtered, e, t, senses)
    assert set(warnings) == {"divergence", "image_error", "action"}
    assert set(wrong) == {"belief_next", "image_next", "person_now", "image_10", "person_10"}
    for values in (*warnings.values(), *wrong.values()):
        assert values.shape == (12,) and torch.isfinite(values).all() and (values >= 0).all()


def test_people_out_of_view_are_no_error(filtered: mo.Filtered) -> None:
    e, t = filtered.moments(3)
    people = torch.zeros(3, S.hues, 5)
    people[:, 0, 1:3] = filtered.data["person_xy"][e, t, 0] + torch.tensor([0.3, 0.4])
    assert mo.person_error(filtered, people, e, t).tolist() == pytest.approx([0.5] * 3, rel=1e-4)
    blind = mo.Filtered.__new__(mo.Filtered)
    blind.data = filtered.data | {"person_seen": torch.zeros_like(filtered.data["person_seen"])}
    assert torch.isnan(mo.person_error(blind, people, e, t)).all()


def test_spoilt_observations_differ_only_where_they_say(filtered: mo.Filtered) -> None:
    e, t = filtered.moments(4)
    points = filtered.points(e, t)
    for kind, spoilt in mo.off_data(filtered, e, t).items():
        pixels = not torch.equal(spoilt[:, : geo.PIXELS], points[:, : geo.PIXELS])
        senses = not torch.equal(spoilt[:, geo.PIXELS :], points[:, geo.PIXELS :])
        assert (pixels, senses) == ((False, True) if kind == "imu" else (True, False)), kind
        if kind == "shuffled":
            assert torch.equal(spoilt.sort(-1).values, points.sort(-1).values)


def test_a_room_pasted_into_itself_is_not_spoilt(bundle: Bundle) -> None:
    alone = mo.Filtered(tiny.networks()[0], tiny.episodes(bundle)[:1])
    assert "pasted" not in mo.off_data(alone, *alone.moments(4))


def test_what_all_moments_of_an_episode_share_is_no_proof() -> None:
    """Two unrelated values that differ by episode alone: chance, however many the moments."""
    rng, groups = np.random.default_rng(0), np.repeat(np.arange(12), 20)
    held = []
    for _ in range(20):
        a, b = (rng.normal(0, 1, 12)[groups] + rng.normal(0, 0.3, 240) for _ in range(2))
        low, high = geo.spearman_ci95(a, b, groups)
        held.append(low <= 0 <= high)
    assert sum(held) >= 15, "by moments it would be in one of two"
    x = rng.normal(0, 1, 240)
    low, high = geo.spearman_ci95(x, x + rng.normal(0, 0.5, 240), groups)
    assert 0.7 < low < high < 1
    assert geo.spearman_ci95(x, x, np.zeros(240, int)) == (-1.0, 1.0), "one episode says nothing"
    assert (tool.starred((low, high)), tool.starred((-1.0, 1.0))) == ("*", "")


def recorded(bundle: Bundle, folder: Path) -> Path:
    found = tiny.episodes(bundle)
    arrays = {k: np.stack([getattr(e.observations, k) for e in found]) for k in ("frame", "imu", "proprio", "odometry", "action")}  # fmt: skip
    arrays |= {k: np.stack([getattr(e, k) for e in found]) for k in ("person_xy", "person_present", "person_seen")}  # fmt: skip
    np.savez(folder / "a.npz", **arrays)
    return folder


def test_the_command_measures_everything_and_draws_it(
    bundle, tmp_path, monkeypatch, capsys
) -> None:
    monkeypatch.setattr(tool, "STEPS", 20)
    monkeypatch.setattr(tool, "SEGMENTS", 4)
    argv = ["model", "geometry", "--bundle", str(bundle.path), "--recorded", str(recorded(bundle, tmp_path)), "--episodes", "2", "--moments", "12"]  # fmt: skip
    picture = tmp_path / "picture.png"
    draws = ["--out", str(picture)] if tool.find_spec("matplotlib") else []
    assert companion.main([*argv, *draws, "--json"]) == 0
    out, err = capsys.readouterr()
    found = json.loads(out)
    assert found["complete"] and found["episodes"] == 2 and found["moments"] == 12
    assert set(found["rarity"]["off"]) == {"noise", "shuffled", "pasted", "black", "imu"}
    assert set(found["regions"]) == {"consecutive", "random", "off_data"}
    assert set(found["gain"]) == {"1", "5", "12"} and set(found["growth"]) == {"random", "policy"}
    assert set(found["worth"]) >= {"rarity", "crossings", "gain_12", "growth", "divergence", "action"}  # fmt: skip
    assert set(found["worth_ci95"]["rarity"]) == set(found["worth"]["rarity"])
    assert " s left" in err
    if draws:
        assert picture.read_bytes()[:4] == b"\x89PNG" and not list(tmp_path.glob(".*"))


def test_ctrl_c_leaves_what_was_measured(bundle, tmp_path, monkeypatch, capsys) -> None:
    def ended(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(tool, "_regions", ended)
    argv = ["model", "geometry", "--bundle", str(bundle.path), "--recorded", str(recorded(bundle, tmp_path)), "--episodes", "2", "--moments", "12"]  # fmt: skip
    draws = ["--out", str(tmp_path / "p.png")] if tool.find_spec("matplotlib") else []
    assert companion.main([*argv, *draws, "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert found["complete"] is False and "rarity" in found and "gain" not in found
    assert not draws or (tmp_path / "p.png").is_file()


def test_folders_without_the_truth_are_refused(tmp_path: Path, bundle: Bundle) -> None:
    with pytest.raises(ObservationError, match="give a folder of episodes"):
        load_episodes(tmp_path, 2, bundle.manifest)
    tiny.episodes(bundle)[0].observations.save(tmp_path / "a.npz")
    with pytest.raises(ObservationError, match="has no person_xy"):
        load_episodes(tmp_path, 2, bundle.manifest)
    (tmp_path / "a.npz").unlink()
    recorded(bundle, tmp_path)
    arrays = dict(np.load(tmp_path / "a.npz"))
    np.savez(tmp_path / "a.npz", **{**arrays, "proprio": arrays["proprio"][..., 1:]})
    with pytest.raises(ObservationError, match="record on the bundle's body"):
        load_episodes(tmp_path, 2, bundle.manifest)
    np.savez(tmp_path / "a.npz", **{**arrays, "imu": arrays["imu"][..., :3, :]})
    with pytest.raises(ObservationError, match="record again"):
        load_episodes(tmp_path, 2, bundle.manifest)
