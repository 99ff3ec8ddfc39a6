"""What a training does; its defaults are the recipe that bundles are made by. Known without torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tools.train.pool import Pool

EPISODE_S = 20.0
EPISODE_FRAMES = round(EPISODE_S * 20) - 12  # less what passes before the loop is active
LEAST_LENGTH = 16  # frames: half a second ahead, and a few before it to believe something


@dataclass(frozen=True)
class TrainSettings:
    """One training."""

    name: str
    version: str
    work: Path
    out: Path
    body: str = "companion"
    episodes: int = 400
    updates: tuple[int, ...] = (7500, 6000)  # first round, then one per aggregation
    decoder_updates: int = 2500  # of the decoder alone, after the world model
    finder_updates: int = 5000
    people_updates: int = 8000
    aggregate: int = 120  # episodes per aggregation round
    demonstrations: int = 360  # expert episodes for the policy alone, unseen by the world model
    policy_rounds: int = 5  # aggregation rounds of the policy alone, on the frozen world model
    policy_updates: int = 12000
    undisturbed: int = 240  # episodes that alarm levels are set on
    pool: Pool = Pool()
    threads: int = 2
    seed: int = 0
    batch: int = 16
    length: int = 32
    decoder_length: int = 48  # of its sequences: a belief, and then a second ahead
    device: str = "cpu"
