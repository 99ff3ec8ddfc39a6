"""Closed loop on fresh seeds: it follows by what it sees, and by nothing else."""

import pytest

from runtime.lockstep import Latency
from tools.compose import DEFAULT_BUNDLE
from tools.evaluate.episodes import Episode, run_episode
from tools.train.pool import Pool

pytestmark = pytest.mark.closed_loop
SEEDS = 20
# Seeds that neither training nor `model evaluate` has used.
FIRST = 31_000_000


def successes(kind: str) -> tuple[int, list[str]]:
    episodes = [
        (Episode(DEFAULT_BUNDLE, FIRST + i, scenario="default", kind=kind),) for i in range(SEEDS)
    ]
    rows = list(Pool(2).run(run_episode, episodes))
    return sum(r["success"] for r in rows), [f"{r['success']} {r['metrics']}" for r in rows]


def test_it_follows_on_at_least_16_of_20_fresh_seeds() -> None:
    count, lines = successes("normal")
    assert count >= 16, "\n".join(lines)


@pytest.mark.parametrize("kind", ["blackout", "frozen", "shuffled"])
def test_without_sight_or_belief_it_follows_on_at_most_2(kind: str) -> None:
    count, lines = successes(kind)
    assert count <= 2, "\n".join(lines)


def test_latencies_differ_by_seed_and_are_real() -> None:
    drawn = [Latency.draw(seed) for seed in range(20)]
    assert len({d.camera for d in drawn}) == 20
    assert all(d.perception > 1_000_000 for d in drawn)
