"""Records what a bundle observes while it drives the twin, and who really was where."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import numpy as np

from models.observations import PEOPLE, Episode, Observations
from models.world import World
from tools.compose import RunSettings, load_policy, open_world, prepare
from tools.lockstep_run import LockstepRun, Overrides
from tools.train.collect import RecordingWorld, scenario_for
from tools.train.labels import Labeller
from tools.twin.twin import Twin

FIRST_SEED = 880_000  # neither trained on nor judged by


def record(
    bundle: str, episodes: int, duration_s: float = 20.0, first_seed: int = FIRST_SEED
) -> Iterator[Episode]:
    """Episodes in lockstep, one after the other, in scenes as hard as those of a training."""
    for seed in range(first_seed, first_seed + episodes):
        yield episode(bundle, seed, duration_s)


def episode(bundle: str, seed: int, duration_s: float) -> Episode:
    """One episode; the bundle's own policy drives."""
    setup = prepare(RunSettings(bundle=bundle, seed=seed, lockstep=True))
    inner, _ = open_world(setup)
    policy, _ = load_policy(setup)
    world = RecordingWorld(setup.bundle.manifest.belief, inner)
    labels: list[dict[str, Any]] = []
    look = Labeller()

    def note(twin: Twin) -> None:
        found = look(twin)
        labels.append({k: found[k] for k in PEOPLE})

    over = Overrides(scenario=scenario_for(seed), on_render=note)
    LockstepRun(setup, cast(World, world), policy, over).run(duration_s)
    count = min(len(labels), len(world.frames))
    observations = Observations(
        frame=np.stack(world.frames[:count]),
        imu=np.stack(world.imu[:count]),
        proprio=np.stack(world.proprio[:count]),
        odometry=np.array(world.odometry[:count], np.float32),
        action=np.stack(world.action[:count]),
    )
    people = {k: np.stack([row[k] for row in labels[:count]]).astype(np.float32) for k in PEOPLE}
    return Episode(observations, **people)
