"""`companion model train`: collect -> train -> aggregate with the policy's own runs -> export.

Every stage leaves a file in the work folder and is skipped when that file is there, so that an
interrupted training goes on where it stopped. Counted in updates, never in wall time.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from models.export import write_bundle
from models.training import Episodes, PolicyTrainer, Schedule, Trainer, beliefs_of
from runtime.body import load_body
from tools.train.collect import CollectSettings, collect
from tools.train.draft import draft, sizes_for
from tools.train.signing import development_key

AGGREGATION_SEED = 5_000_000


@dataclass(frozen=True)
class TrainSettings:
    """One training."""

    name: str
    version: str
    work: Path
    out: Path
    body: str = "companion"
    episodes: int = 240
    updates: tuple[int, ...] = (3000, 1500, 1500)  # first round, then one per aggregation
    aggregate: int = 60  # episodes per aggregation round
    policy_rounds: int = 3  # aggregation rounds of the policy alone, on the frozen world model
    policy_updates: int = 4000
    jobs: int = 2
    threads: int = 2
    seed: int = 0
    batch: int = 16
    length: int = 32


def train(settings: TrainSettings, say: Callable[[str], None]) -> Path:
    """Run all stages; the bundle's folder."""
    torch.set_num_threads(settings.threads)
    settings.work.mkdir(parents=True, exist_ok=True)
    layout = load_body(settings.body).layout()
    schedule = Schedule(
        updates=sum(settings.updates),
        seed=settings.seed,
        batch=settings.batch,
        length=settings.length,
    )
    trainer = Trainer(sizes_for(layout), schedule)
    checkpoint = settings.work / "checkpoint.pt"
    if checkpoint.is_file():
        trainer.load(checkpoint)
        say(f"resuming at update {trainer.update} of {schedule.updates}")
    files = collect(
        CollectSettings(settings.body, settings.episodes, settings.seed + 1_000_000),
        settings.work / "expert",
        settings.jobs,
        say,
    )
    until = 0
    for round_number, updates in enumerate(settings.updates):
        until += updates
        if round_number:
            files += _aggregate(settings, trainer, files, round_number, say)
        if trainer.update < until:
            episodes = Episodes(files)
            say(f"round {round_number}: {episodes.count} episodes of {episodes.length} frames")
            trainer.train(
                episodes, until, checkpoint, Progress(schedule.updates, trainer.update, say)
            )
    _policy_rounds(settings, trainer, files, say)
    _export(settings, trainer, files, settings.out, settings.version)
    return settings.out


def _policy_rounds(
    settings: TrainSettings, trainer: Trainer, files: list[Path], say: Callable[[str], None]
) -> None:
    """Drive, label, clone again: the world model stays, the policy learns from its own mistakes."""
    cloning = PolicyTrainer(trainer.world, trainer.policy, settings.seed)
    for file in files:
        cloning.add(Episodes([file]))
    first = len(settings.updates)
    for number in range(first, first + settings.policy_rounds + 1):
        say(f"policy round {number}: cloning")
        cloning.train(settings.policy_updates, Progress(settings.policy_updates, 0, say))
        if number == first + settings.policy_rounds:
            break
        for file in _aggregate(settings, trainer, files, number, say):
            cloning.add(Episodes([file]))


class Progress:
    """Prints the losses with the time left."""

    def __init__(self, updates: int, start: int, say: Callable[[str], None]) -> None:
        self._updates, self._start, self._say = updates, start, say
        self._began = time.monotonic()

    def __call__(self, update: int, parts: dict[str, float]) -> None:
        """One report."""
        rate = (time.monotonic() - self._began) / max(1, update - self._start)
        left = rate * (self._updates - update)
        losses = " ".join(f"{k} {v:.3g}" for k, v in parts.items())
        self._say(f"update {update}/{self._updates}, {left / 60:.0f} min left: {losses}")


def _aggregate(
    settings: TrainSettings,
    trainer: Trainer,
    files: list[Path],
    number: int,
    say: Callable[[str], None],
) -> list[Path]:
    """Let the present policy drive, with the expert's labels (DAgger: Ross et al. 2011)."""
    folder = settings.work / f"round{number}"
    bundle = settings.work / f"bundle{number}"
    if not bundle.is_dir():
        _export(settings, trainer, files, bundle, f"{settings.version}-round{number}")
    first = AGGREGATION_SEED + settings.seed + number * 100_000
    wanted = CollectSettings(settings.body, settings.aggregate, first, bundle=str(bundle))
    return collect(wanted, folder, settings.jobs, say)


def _export(
    settings: TrainSettings, trainer: Trainer, files: list[Path], out: Path, version: str
) -> None:
    layout = load_body(settings.body).layout()
    sample = Episodes(files[:1])
    g = torch.Generator().manual_seed(0)
    batch = sample.batch(replace(trainer.schedule, frame_dropout=0, senses_dropout=0), g)
    trainer.world.eval()
    trainer.policy.eval()
    beliefs, on_rate = beliefs_of(trainer.world, batch)
    fields = draft(
        layout, settings.name, version,
        f"twin, {settings.episodes} expert episodes and {len(settings.updates) - 1} rounds of "
        f"{settings.aggregate} aggregated, {trainer.update} updates, seed {settings.seed}",
    )  # fmt: skip
    write_bundle(
        out, trainer.world.to(memory_format=torch.contiguous_format), trainer.policy, on_rate,
        beliefs, fields, development_key(),
    )  # fmt: skip
    trainer.world.to(memory_format=torch.channels_last)
    trainer.world.train()
    trainer.policy.train()
