"""Closed loop on fresh seeds: it follows by what it sees, and by nothing else."""

import contextlib

import pytest

from runtime.lockstep import Latency
from tools.compose import DEFAULT_BUNDLE
from tools.evaluate.episodes import Episode, run_episode
from tools.train.pool import Pool

pytestmark = pytest.mark.closed_loop
SEEDS = 20
# Seeds that neither training nor `model evaluate` has used.
FIRST = 31_000_000


def at_least(wanted: int, kind: str) -> tuple[bool, str]:
    """Whether so many of SEEDS succeed, and each one's story; the last are not run when it is decided."""
    episodes = [
        (Episode(DEFAULT_BUNDLE, FIRST + i, scenario="default", kind=kind),) for i in range(SEEDS)
    ]
    count, lines = 0, []
    with contextlib.closing(Pool(2).run(run_episode, episodes)) as rows:
        for row in rows:
            count += row["success"]
            lines.append(f"{row['success']} {row['metrics']}")
            if count >= wanted or len(lines) - count > SEEDS - wanted:
                break
    return count >= wanted, "\n".join(lines)


def test_it_follows_on_at_least_16_of_20_fresh_seeds() -> None:
    enough, story = at_least(16, "normal")
    assert enough, story


@pytest.mark.parametrize("kind", ["blackout", "frozen", "shuffled"])
def test_without_sight_or_belief_it_follows_on_at_most_2(kind: str) -> None:
    more, story = at_least(3, kind)
    assert not more, story


def test_latencies_differ_by_seed_and_are_real() -> None:
    drawn = [Latency.draw(seed) for seed in range(20)]
    assert len({d.camera for d in drawn}) == 20
    assert all(d.perception > 1_000_000 for d in drawn)
