"""Training on tiny random episodes: it runs, it resumes, and what it exports is a whole bundle."""

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs torch: `make train` installs it")
pytest.importorskip("onnx", reason="export needs onnx: `make train` installs it")

from models.backend import select  # noqa: E402
from models.backends import loaders  # noqa: E402
from models.bundle import load_bundle  # noqa: E402
from models.export import IR_VERSION, OPSET, write_bundle  # noqa: E402
from models.manifest import GRAPHS  # noqa: E402
from models.networks import Sizes, hard_sample  # noqa: E402
from models.training import Episodes, PolicyTrainer, Schedule, Trainer, beliefs_of  # noqa: E402
from runtime.body import load_body  # noqa: E402
from tools.train.draft import draft  # noqa: E402
from tools.train.signing import development_key  # noqa: E402

pytestmark = pytest.mark.heavy  # torch alone takes seconds to import; `.ci/run` installs it

LAYOUT = load_body("companion").layout()
SIZES = Sizes(
    action=LAYOUT.action_size, proprio=LAYOUT.proprio_size, skills=2,
    deter=16, groups=2, classes=4, embed=16, hidden=16,
)  # fmt: skip
SCHEDULE = Schedule(updates=4, batch=2, length=10)
EPISODES, FRAMES, TICKS = 2, 12, 5


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Episodes of random numbers, in the shapes that `models/training.py` names."""
    rng = np.random.default_rng(1)

    def random(*shape: int) -> np.ndarray:
        return rng.normal(0, 0.3, (EPISODES, FRAMES, *shape)).astype(np.float16)

    def some(*shape: int) -> np.ndarray:
        return rng.random((EPISODES, FRAMES, *shape)) < 0.5

    a, p, hues = SIZES.action, SIZES.proprio, SIZES.hues
    path = tmp_path_factory.mktemp("episodes") / "part0.npz"
    np.savez(
        path,
        frame=rng.integers(0, 256, (EPISODES, FRAMES, 64, 64, 3), np.uint8),
        person_mask=some(64, 64).astype(np.uint8),
        imu=random(5, 6), proprio=random(p), action=random(a), bump=some(),
        person_seen=some(hues), person_present=some(hues), person_xy=random(hues, 2),
        tick_proprio=random(TICKS, p), tick_imu=random(TICKS, 6), tick_expert=random(TICKS, a),
        tick_age_s=np.abs(random(TICKS)), goal=random()[:, :1].repeat(12, 1),
    )  # fmt: skip
    return path


@pytest.fixture(scope="module")
def episodes(file: Path) -> Episodes:
    return Episodes([file])


def test_an_update_runs_and_changes_the_weights(episodes: Episodes) -> None:
    trainer = Trainer(SIZES, SCHEDULE)
    before = [w.clone() for w in trainer.parameters]
    parts = trainer.step(episodes)
    assert set(parts) == {"image", "sense", "person", "near", "bump", "prior", "posterior", "overshoot", "policy"}  # fmt: skip
    assert all(np.isfinite(v) for v in parts.values())
    changed = [not torch.equal(a, b) for a, b in zip(before, trainer.parameters, strict=True)]
    # the episodes of this test know no nearness, so its head alone stays
    assert sum(changed) > 0.85 * len(changed)


def test_training_reports_and_leaves_a_checkpoint_that_reads_back(episodes, tmp_path: Path) -> None:
    trainer = Trainer(SIZES, SCHEDULE)
    reports: list[int] = []
    checkpoint = tmp_path / "checkpoint.pt"
    trainer.train(episodes, 2, checkpoint, lambda n, parts: reports.append(n))
    assert reports == [2] and [f.name for f in tmp_path.iterdir()] == ["checkpoint.pt"]
    again = Trainer(SIZES, SCHEDULE)
    again.load(checkpoint)
    assert again.update == 2
    for a, b in zip(trainer.parameters, again.parameters, strict=True):
        assert torch.equal(a, b)


def test_training_that_was_interrupted_gives_the_same_weights(episodes, tmp_path: Path) -> None:
    whole = Trainer(SIZES, SCHEDULE)
    for _ in range(4):
        whole.step(episodes)
    first = Trainer(SIZES, SCHEDULE)
    first.train(episodes, 2, tmp_path / "checkpoint.pt", lambda _n, _p: None)
    torch.manual_seed(99)  # another process draws other random numbers
    second = Trainer(SIZES, SCHEDULE)
    second.load(tmp_path / "checkpoint.pt")
    second.train(episodes, 4, tmp_path / "checkpoint.pt", lambda _n, _p: None)
    for a, b in zip(whole.parameters, second.parameters, strict=True):
        assert torch.equal(a, b)


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


def test_sampling_takes_the_noise_that_it_is_given() -> None:
    p = torch.tensor([[[0.1, 0.6, 0.3], [0.5, 0.25, 0.25]]])
    assert hard_sample(p, torch.zeros_like(p)).tolist() == [[0, 1, 0, 1, 0, 0]]
    pushed = torch.tensor([[[9.0, 0, 0], [0, 0, 9.0]]])
    assert hard_sample(p, pushed).tolist() == [[1, 0, 0, 0, 0, 1]]


def test_cloning_lowers_the_policys_error_on_what_it_has_seen(episodes: Episodes) -> None:
    trainer = Trainer(SIZES, SCHEDULE)
    cloning = PolicyTrainer(trainer.world, trainer.policy)
    cloning.add(episodes)
    losses: list[float] = []
    for _ in range(2):
        cloning.train(30, lambda _n, parts: losses.append(parts["policy"]), batch=64)
    assert losses[1] < losses[0]


def test_an_exported_bundle_loads_and_meets_its_golden_vectors(episodes, tmp_path: Path) -> None:
    trainer = Trainer(SIZES, SCHEDULE)
    trainer.step(episodes)
    beliefs, on_rate = beliefs_of(trainer.world.eval(), episodes.batch(SCHEDULE, trainer.generator))
    fields = draft(LAYOUT, "tiny", "1", "random numbers")
    fields |= {"belief": SIZES.belief, "noise": (SIZES.groups, SIZES.classes), "candidates": 2}
    folder = tmp_path / "tiny"
    world = trainer.world.to(memory_format=torch.contiguous_format)
    for _ in range(2):  # the second time it replaces the first
        write_bundle(folder, world, trainer.policy, on_rate, beliefs, fields, development_key())
    assert [p.name for p in tmp_path.iterdir()] == ["tiny"], "nothing half-written beside it"
    bundle = load_bundle(folder, LAYOUT)
    assert bundle.signed_by == "development"
    assert (bundle.manifest.opset, bundle.manifest.ir_version) == (OPSET, IR_VERSION) == (17, 10)
    for graph in GRAPHS:
        chosen = select(bundle, graph, ["ort-cpu"], loaders(Path("nowhere")))
        assert chosen.worst_error <= bundle.manifest.graphs[graph].tolerance["fp32"]
        chosen.session.close()
