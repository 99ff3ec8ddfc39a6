"""Training on tiny random episodes: it runs, it resumes, and what it exports is a whole bundle."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs torch: `make train` installs it")
pytest.importorskip("onnx", reason="export needs onnx: `make train` installs it")

from models import policy_training  # noqa: E402
from models.backend import golden_error, select  # noqa: E402
from models.backends import loaders  # noqa: E402
from models.bundle import load_bundle  # noqa: E402
from models.errors import ModelError  # noqa: E402
from models.export import IR_VERSION, OPSET, write_bundle  # noqa: E402
from models.layout import SKILLS  # noqa: E402
from models.losses import (  # noqa: E402
    OBSTACLE_CLASS,
    at,
    embed,
    frames_of,
    person_loss,
    roll,
    since_of,
    unroll,
)
from models.manifest import GRAPHS  # noqa: E402
from models.mirror import Mirror  # noqa: E402
from models.networks import Decoder, Stats, divergence  # noqa: E402
from models.policy_losses import policy_loss  # noqa: E402
from models.policy_training import PolicyTrainer  # noqa: E402
from models.since import Senses, Since  # noqa: E402
from models.sizes import Sizes  # noqa: E402
from models.training import (  # noqa: E402
    INSIDE_90,
    Episodes,
    Schedule,
    Trainer,
    beliefs_of,
    drawn_from,
    even_spread,
    filtered,
    fit_spread,
    train_decoder,
)
from runtime.body import load_body  # noqa: E402
from tools.train.draft import draft  # noqa: E402
from tools.train.signing import development_key  # noqa: E402

pytestmark = pytest.mark.heavy  # torch alone takes seconds to import; `.ci/run` installs it

LAYOUT = load_body("companion").layout()
SENSES = Senses.of(LAYOUT)
SIZES = Sizes(
    action=LAYOUT.action_size, proprio=LAYOUT.proprio_size, skills=len(SKILLS),
    deter=16, groups=2, classes=4, normal=3, embed=16, hidden=16,
)  # fmt: skip
SCHEDULE = Schedule(updates=4, batch=2, length=18)
EPISODES, FRAMES, LEARNED = 2, 24, len(SKILLS) - 1
LOSSES = {"image", "sense", "person", "near", "bump", "reward", "prior", "posterior",
          "policy", "open_prior", "open_heads", "open_image"}  # fmt: skip


def trainer() -> Trainer:
    return Trainer(SIZES, SENSES, SCHEDULE)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Episodes of random numbers, in the shapes that `models/training.py` names."""
    rng = np.random.default_rng(1)

    def random(*shape: int) -> np.ndarray:
        return rng.normal(0, 0.3, (EPISODES, FRAMES, *shape)).astype(np.float16)

    def some(*shape: int) -> np.ndarray:
        return rng.random((EPISODES, FRAMES, *shape)) < 0.5

    def bytes_below(high: int, *shape: int) -> np.ndarray:
        return rng.integers(0, high, (EPISODES, FRAMES, *shape), np.uint8)

    a, p, hues = SIZES.action, SIZES.proprio, SIZES.hues
    path = tmp_path_factory.mktemp("episodes") / "part0.npz"
    np.savez(
        path,
        frame=bytes_below(255, 64, 64, 3), classes=bytes_below(OBSTACLE_CLASS + 1, 64, 64),
        cells=bytes_below(255, hues + 1, 16, 16), near=np.abs(random(SIZES.sectors)),
        imu=random(5, 6), proprio=random(p), odometry=random(), action=random(a), bump=some(),
        person_seen=some(hues), person_present=some(hues), person_xy=random(hues, 2),
        person_since=np.abs(random(hues)), tick_proprio=random(p), tick_imu=random(6),
        tick_age_s=np.abs(random()), expert=random(LEARNED, a), goal=random(LEARNED, 12),
        reward=random(LEARNED),
    )  # fmt: skip
    return path


@pytest.fixture(scope="module")
def episodes(file: Path) -> Episodes:
    return Episodes([file])


def test_an_update_runs_and_changes_the_weights(episodes: Episodes) -> None:
    it = trainer()
    before = [w.clone() for w in it.parameters]
    parts = it.step(episodes)
    assert set(parts) == LOSSES
    assert all(torch.isfinite(v) for v in parts.values())
    changed = [not torch.equal(a, b) for a, b in zip(before, it.parameters, strict=True)]
    assert sum(changed) > 0.9 * len(changed)  # whom to pick is learnt later, with slots


def test_training_reports_and_leaves_a_checkpoint_that_reads_back(episodes, tmp_path: Path) -> None:
    it = trainer()
    reports: list[int] = []
    checkpoint = tmp_path / "checkpoint.pt"
    it.train(episodes, 2, checkpoint, lambda n, parts: reports.append(n))
    assert reports == [2] and [f.name for f in tmp_path.iterdir()] == ["checkpoint.pt"]
    again = trainer()
    again.load(checkpoint)
    assert again.update == 2
    for a, b in zip(it.parameters, again.parameters, strict=True):
        assert torch.equal(a, b)


def test_training_that_was_interrupted_gives_the_same_weights(episodes, tmp_path: Path) -> None:
    whole = trainer()
    whole.train(episodes, 4, tmp_path / "whole.pt", lambda _n, _p: None)
    first = trainer()
    first.train(episodes, 2, tmp_path / "checkpoint.pt", lambda _n, _p: None)
    torch.manual_seed(99)  # another process draws other random numbers
    second = trainer()
    second.load(tmp_path / "checkpoint.pt")
    second.train(episodes, 4, tmp_path / "checkpoint.pt", lambda _n, _p: None)
    for a, b in zip(whole.parameters, second.parameters, strict=True):
        assert torch.equal(a, b)


def test_a_stop_while_it_reports_loses_no_update(episodes, tmp_path: Path) -> None:
    def stopped(_update: int, _parts: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trainer().train(episodes, 2, tmp_path / "checkpoint.pt", stopped)
    again = trainer()
    again.load(tmp_path / "checkpoint.pt")
    assert again.update == 2


def test_what_a_stage_draws_does_not_hang_on_the_stages_before_it(episodes: Episodes) -> None:
    def after(seed: int) -> list[torch.Tensor]:
        it = trainer()
        torch.manual_seed(seed)
        before = torch.get_rng_state()
        train_decoder(it.world, SENSES, episodes, SCHEDULE, lambda _n, _p: None)
        spread = fit_spread(it.world, SENSES, episodes, SCHEDULE, batches=2)
        cloning = PolicyTrainer(it.world, it.policy, seed=1)
        cloning.add(episodes)
        if seed:  # not resumed: the round before it ran here, too
            kept = {k: v.clone() for k, v in it.policy.state_dict().items()}
            cloning.train(1, lambda _n, _p: None, round_number=1)
            it.policy.load_state_dict(kept)
        cloning.train(2, lambda _n, _p: None, round_number=2)
        assert torch.equal(before, torch.get_rng_state())
        return [torch.tensor(spread), *it.world.decoder.parameters(), *it.policy.parameters()]

    for a, b in zip(after(0), after(99), strict=True):
        assert torch.equal(a, b)


def test_a_checkpoint_of_other_networks_is_refused_in_a_sentence(tmp_path: Path) -> None:
    trainer().save(tmp_path / "checkpoint.pt")
    wider = Trainer(replace(SIZES, memory=SIZES.memory + 2), SENSES, Schedule(updates=1))
    with pytest.raises(
        ModelError, match=r"checkpoint.pt holds networks of another version.*--work"
    ):
        wider.load(tmp_path / "checkpoint.pt")


def test_the_learning_rate_ramps_holds_and_falls() -> None:
    schedule = Schedule(updates=1000, rate=1.0, warm_up=100, decay_from=0.5)
    rates = [schedule.rate_at(u) for u in (0, 49, 99, 499, 750, 1000)]
    assert rates == pytest.approx([0.01, 0.5, 1.0, 1.0, 0.525, 0.05])


def test_dropped_senses_take_their_actions_along(episodes: Episodes) -> None:
    never = Schedule(updates=1, batch=8, length=4, frame_dropout=1.0, senses_dropout=2.0)
    batch = episodes.batch(never, torch.Generator().manual_seed(0))
    assert not batch["mask"].any()
    assert not batch["action"].any()
    assert batch["frame"].shape == (8, 4, 64, 64, 3) and batch["frame"].dtype == torch.uint8


def stats(p: list[list[float]], mean: list[float], sigma: list[float]) -> Stats:
    return Stats(torch.tensor([p]), torch.tensor([mean]), torch.tensor([sigma]))


def test_sampling_takes_the_noise_that_it_is_given() -> None:
    q = stats([[0.1, 0.6, 0.3], [0.5, 0.25, 0.25]], [1.0, 2.0], [0.5, 0.1])
    zero = torch.zeros(1, 8)
    assert q.noisy(zero).tolist() == [[0, 1, 0, 1, 0, 0, 1, 2]]
    pushed = torch.tensor([[9.0, 0, 0, 0, 0, 9.0, 2.0, -1.0]])
    assert q.noisy(pushed)[0].tolist() == pytest.approx([1, 0, 0, 0, 0, 1, 2, 1.9])
    assert torch.equal(q.mode(), q.noisy(zero))


def test_divergence_is_that_of_torch_distributions() -> None:
    from torch.distributions import Categorical, Normal, kl_divergence

    q = stats([[0.1, 0.6, 0.3]], [1.0, 2.0], [0.5, 0.1])
    p = stats([[0.3, 0.3, 0.4]], [0.0, 2.5], [1.0, 0.3])
    wanted = kl_divergence(Categorical(probs=q.p), Categorical(probs=p.p)).sum()
    wanted = wanted + kl_divergence(Normal(q.mean, q.sigma), Normal(p.mean, p.sigma)).sum()
    assert float(divergence(q, p)) == pytest.approx(float(wanted), rel=1e-5)
    assert float(divergence(q, q)) == pytest.approx(0, abs=1e-6)


def test_what_happened_since_is_the_same_at_run_time_and_in_training() -> None:
    rng = np.random.default_rng(3)
    first = rng.normal(0, 0.4, LAYOUT.proprio_size).astype(np.float32)
    later = rng.normal(0, 0.4, (6, LAYOUT.proprio_size + 6)).astype(np.float32)
    wanted = since_of(SENSES, torch.from_numpy(first)[None], torch.from_numpy(later)[None])[0]
    since = Since(SENSES)
    since.start(first)
    for k in range(6):
        since.step(later[k])
        assert since.value == pytest.approx(wanted[k].numpy(), abs=1e-6)


@pytest.mark.parametrize(("since", "axis", "sign"), [((0.2, 0, 0, 0, 0, 0), 3, -1), ((0, 0, 0.2, 0, 0, 0), 2, 1)])  # fmt: skip
def test_the_decoder_turns_what_was_seen_with_the_camera(since, axis: int, sign: int) -> None:
    """Turned to the left (down), the middle shows what was left (low) of it: pixels move the other way."""
    decoder = Decoder(Sizes(4, 7, 6))
    x, y, z = decoder._then(torch.tensor([since]))
    ahead = 46 * (y if axis == 3 else z) / x
    then = 31.5 - ahead[0, 32 * 64 + 32]
    assert sign * (float(then) - 32) == pytest.approx(46 * np.tan(0.2), abs=1.0)


def test_a_person_head_that_is_sure_and_wrong_costs_more_than_one_that_is_unsure() -> None:
    one = torch.ones(1, 1, 1)
    batch = {"person_seen": one, "person_present": one, "person_since": 0 * one,
             "person_xy": torch.zeros(1, 1, 1, 2), "mask": torch.ones(1, 3)}  # fmt: skip
    sure, unsure = (torch.tensor([[[9.0, 1.0, 0.0, s, 0.0]]]) for s in (-3.0, 0.0))
    assert float(person_loss(sure, batch, 0.3)) > float(person_loss(unsure, batch, 0.3)) + 10


@pytest.mark.parametrize(("slope", "shift"), [(1.3, -0.4), (0.6, 0.5), (1.0, 0.0)])
def test_sigmas_are_put_right_for_the_sure_and_the_unsure_alike(slope: float, shift: float) -> None:
    g = torch.Generator().manual_seed(0)
    said = -2 + 0.7 * torch.randn(1, 20_000, generator=g).expand(4, -1)
    true = (slope * said[0] + shift).exp()
    squared = (true[:, None] * torch.randn(20_000, 2, generator=g)).square().sum(1)
    found = even_spread(squared, torch.zeros(20_000), said)
    assert found == pytest.approx((slope, shift), abs=0.16)
    inside = squared < INSIDE_90 * (2 * (found[0] * said[0] + found[1])).exp()
    for half in (said[0] < -2, said[0] >= -2):
        assert inside[half].float().mean().item() == pytest.approx(0.9, abs=0.015)


def test_cloning_lowers_the_policys_error_on_what_it_has_seen(episodes: Episodes) -> None:
    it = trainer()
    cloning = PolicyTrainer(it.world, it.policy)
    cloning.add(episodes)
    losses: list[float] = []
    for _ in range(2):
        cloning.train(30, lambda _n, parts: losses.append(parts["policy"]), batch=64)
    assert losses[1] < losses[0]


def test_cloning_does_without_some_of_the_core_and_keeps_every_person(
    episodes: Episodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    it, seen = trainer(), []
    cloning = PolicyTrainer(it.world, it.policy)
    cloning.add(episodes)
    real = policy_training.policy_loss

    def spy(policy, belief, batch, g):
        seen.append((belief, batch["belief"]))
        return real(policy, belief, batch, g)

    monkeypatch.setattr(policy_training, "policy_loss", spy)
    cloning.train(1, lambda _n, _parts: None, batch=512)
    given, whole = seen[0]
    core = SIZES.core
    gone = (given[..., :core] == 0) & (whole[..., :core] != 0)
    assert gone.sum() / (whole[..., :core] != 0).sum() == pytest.approx(0.4, abs=0.03)
    assert torch.equal(given[..., core:], whole[..., core:])


def test_cloning_learns_mirror_images_where_they_say_which_side(
    episodes: Episodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    it, mirror = trainer(), Mirror(LAYOUT, side_rad=0.1, lead_s=0.4)
    nobody = torch.zeros_like(episodes.data["person_seen"])
    monkeypatch.setitem(episodes.data, "person_seen", nobody)
    cloning = PolicyTrainer(it.world, it.policy)
    cloning.add(episodes)
    cloning.add(episodes, mirror)
    seen, mirrored = cloning._parts
    decided = mirror.decided(episodes.data)
    assert 0 < decided.sum() < decided.numel(), "the episodes hold both kinds"
    assert len(mirrored["belief"]) == decided.sum() < len(seen["belief"])
    assert torch.equal(mirrored["goal"], mirror(episodes.data)["goal"][decided])


def test_half_of_a_batch_comes_from_a_mirror(episodes: Episodes) -> None:
    mirror = Mirror(LAYOUT, side_rad=0.1, lead_s=0.4)
    both = Episodes.__new__(Episodes)
    both.__dict__ = episodes.__dict__ | {"_mirror": mirror}
    schedule = Schedule(updates=1, batch=4, length=8)
    plain = episodes.batch(schedule, torch.Generator().manual_seed(3))
    mixed = both.batch(schedule, torch.Generator().manual_seed(3))
    assert plain.keys() | {"decided"} == mixed.keys()
    half = {k: v[:2] for k, v in plain.items() if k != "mask"}
    for key, value in mirror(half).items():
        assert torch.equal(mixed[key][:2], value) and torch.equal(mixed[key][2:], plain[key][2:])
    assert not torch.equal(mixed["frame"], plain["frame"])
    assert torch.equal(mixed["decided"][:2], mirror.decided(mirror(half)).float())
    assert torch.equal(mixed["decided"][2:], torch.ones(2, 8))


def test_labels_that_do_not_hold_in_a_mirror_teach_no_policy(episodes: Episodes) -> None:
    it, g = trainer(), torch.Generator()
    batch = episodes.batch(SCHEDULE, it.generator)
    belief = torch.zeros(*batch["reward"].shape[:2], SIZES.belief)

    def loss(decided: float) -> float:
        marked = batch | {"decided": torch.full(belief.shape[:2], decided)}
        return float(policy_loss(it.policy, belief, marked, g.manual_seed(0)).detach())

    assert loss(0.0) == 0.0
    unmarked = policy_loss(it.policy, belief, batch, g.manual_seed(0)).detach()
    assert loss(1.0) == float(unmarked) > 0


def test_what_is_rolled_out_starts_from_the_belief_alone(episodes: Episodes) -> None:
    it, samples, start = trainer(), 5, torch.tensor([3])
    batch = episodes.batch(SCHEDULE, it.generator)
    starts: list[torch.Tensor] = []
    imagining = it.world.imagining

    def watched(h: torch.Tensor, z: torch.Tensor, action: torch.Tensor) -> Any:
        starts.append(torch.cat([h, z], -1))
        return imagining(h, z, action)

    it.world.imagining = watched  # type: ignore[method-assign]
    with torch.no_grad():
        embeds, _ = embed(it.world, batch, frames_of(batch))
        u = unroll(it.world, embeds, batch["action"], mode=True)
        roll(it.world, u, batch, SENSES, start, 2, samples)
    assert torch.equal(starts[0], at(u.belief, start).repeat(samples, 1))


def test_what_is_drawn_apart_leaves_every_devices_numbers_as_they_were(monkeypatch) -> None:
    """A seed is all devices' seed, also where the default one is the CPU."""
    kept: list[list[int]] = []

    @contextmanager
    def forked(devices: Any) -> Iterator[None]:
        kept.append(list(devices))
        yield

    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.random, "fork_rng", forked)
    monkeypatch.setattr(torch, "manual_seed", lambda seed: None)
    with drawn_from(3):
        pass
    assert kept == [[0, 1]]


def test_a_long_batch_is_filtered_in_pieces_to_the_same(episodes, monkeypatch) -> None:
    it = trainer()
    batch = episodes.batch(SCHEDULE, it.generator)
    whole = filtered(it.world.eval(), batch)
    monkeypatch.setattr("models.training.FRAMES_AT_ONCE", 2 * SCHEDULE.batch)
    for a, b in zip(whole, filtered(it.world, batch), strict=True):
        assert torch.allclose(a, b, atol=1e-5)
    beliefs, _ = beliefs_of(it.world, batch, warm_up=6)
    assert torch.allclose(beliefs, whole[0][:, 6:].flatten(0, 1), atol=1e-5)


def test_an_exported_bundle_loads_and_meets_its_golden_vectors(episodes, tmp_path: Path) -> None:
    it = trainer()
    it.step(episodes)
    beliefs, on_rate = beliefs_of(it.world.eval(), episodes.batch(SCHEDULE, it.generator))
    fields = draft(LAYOUT, "tiny", "1", "random numbers")
    fields |= {"belief": SIZES.belief, "noise": SIZES.stoch, "groups": SIZES.groups,
               "classes": SIZES.classes, "candidates": 2}  # fmt: skip
    folder = tmp_path / "tiny"
    world = it.world.to(memory_format=torch.contiguous_format)
    for _ in range(2):  # the second time it replaces the first
        write_bundle(folder, world, it.policy, on_rate, beliefs, fields, development_key())
    assert [p.name for p in tmp_path.iterdir()] == ["tiny"], "nothing half-written beside it"
    bundle = load_bundle(folder, LAYOUT)
    assert bundle.signed_by == "development"
    assert (bundle.manifest.opset, bundle.manifest.ir_version) == (OPSET, IR_VERSION) == (17, 10)
    for graph in GRAPHS:
        chosen = select(bundle, graph, ["ort-cpu"], loaders(Path("nowhere")))
        assert chosen.worst_error <= bundle.manifest.graphs[graph].tolerance["fp32"]
        if graph in ("observe", "imagine"):
            deaf = {
                **bundle.golden(),
                f"{graph}.in.noise": bundle.golden()[f"{graph}.in.noise"] * 0,
            }
            assert golden_error(chosen.session, deaf, graph) > 0.1, "the noise it is given counts"
        chosen.session.close()
