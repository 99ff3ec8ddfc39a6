"""`companion model train`: collect -> train -> aggregate with the policy's own runs -> export.

Every stage leaves a file in the work folder and is skipped when that file is there, so that an
interrupted training goes on where it stopped. Counted in updates, never in wall time.
"""

from __future__ import annotations

import functools
import hashlib
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from models.errors import ModelError
from models.export import write_bundle
from models.kept import fill, load, save
from models.manifest import Training
from models.mirror import Mirror
from models.networks import Policy, WorldModel
from models.people_training import train_finder, train_people
from models.place import check_place, replacing
from models.policy_training import PolicyTrainer
from models.since import Senses
from models.training import (
    Episodes,
    Schedule,
    Trainer,
    beliefs_of,
    drawn_from,
    fit_spread,
    generator,
    train_decoder,
)
from runtime.body import load_body
from tools.evaluate.thresholds import measure
from tools.train.allocator import keep_memory
from tools.train.collect import EPISODES_PER_FILE, CollectSettings, collect
from tools.train.draft import draft, sizes_for
from tools.train.progress import Progress
from tools.train.settings import TrainSettings
from tools.train.signing import development_key, resign
from tools.train.work import Stopwatch, alone, stamp
from tools.twin.expert import LEAD_S, SIDE_RAD

EXPERT_SEED = 1_000_000
DEMONSTRATION_SEED = 1_200_000
AGGREGATION_SEED = 5_000_000
ROUND_STRIDE, SEED_STRIDE = 100_000, 1_000  # between the first episodes of two rounds, two seeds
ROOT = Path(__file__).parents[2]
SAMPLED_FILES, SAMPLED_FRAMES = 20, 128  # a bundle's on-rates and golden beliefs are of these
AT_ONCE = {"cpu": 20, "cuda": 200}  # episodes that are filtered together


def train(settings: TrainSettings, say: Callable[[str], None]) -> Path:
    """Run all stages; the bundle's folder.

    Raises:
        ModelError: the bundle cannot go where it is to go, the work folder is that of another
            training, one runs in it now, or a file in it is cut.
    """
    load_body(settings.body)
    _check_device(settings.device)
    _check_places(settings.work, settings.out)
    settings.work.mkdir(parents=True, exist_ok=True)
    with alone(settings.work), torch.device(settings.device):
        stamp(settings)
        return _stages(settings, say)


def _stages(settings: TrainSettings, say: Callable[[str], None]) -> Path:
    torch.set_num_threads(settings.threads)
    keep_memory()
    layout = load_body(settings.body).layout()
    say = Stopwatch(settings.work / "seconds.txt", say).say
    schedule = Schedule(
        updates=sum(settings.updates),
        seed=settings.seed,
        batch=settings.batch,
        length=settings.length,
    )
    trainer = Trainer(sizes_for(layout), Senses.of(layout), schedule)
    checkpoint = settings.work / "checkpoint.pt"
    if checkpoint.is_file():
        trainer.load(checkpoint)
        say(f"resuming at update {trainer.update} of {schedule.updates}")
    mirror = Mirror(layout, SIDE_RAD, LEAD_S)
    files = collect(
        CollectSettings(settings.body, settings.episodes, first_seed(EXPERT_SEED, settings.seed)),
        settings.work / "expert",
        settings.pool,
        say,
    )
    _finder(settings, trainer, files, say)
    until = 0
    for round_number, updates in enumerate(settings.updates):
        until += updates
        if round_number:
            files += _aggregate(settings, trainer, files, round_number, say)
        if trainer.update < until:
            episodes = Episodes(files, mirror)
            say(f"round {round_number}: {episodes.count} episodes of {episodes.length} frames")
            progress = Progress(settings.work / "losses", schedule.updates, trainer.update, say)
            trainer.train(episodes, until, checkpoint, progress)
            del episodes  # gigabytes
    _decoder(settings, trainer, files, mirror, say)
    first = first_seed(DEMONSTRATION_SEED, settings.seed)
    wanted = CollectSettings(settings.body, settings.demonstrations, first)
    unseen = collect(wanted, settings.work / "demonstrations", settings.pool, say)
    _people(settings, trainer, [*files, *unseen], say)
    driven = _policy_rounds(settings, trainer, files, unseen, mirror, say)
    files += [*unseen, *driven]
    if driven:
        slope, shift = fit_spread(trainer.world, trainer.senses, Episodes(driven), schedule)
        say(f"person head: log sigma times {slope:.2f} plus {shift:.2f}: 90 % intervals hold 90 %")
    whole = settings.work / "whole"  # a bundle without alarm levels takes nobody's place
    _export(settings, trainer, files, whole, settings.version)
    say("alarm levels of the surprise channels, on undisturbed training episodes")
    levels = measure(str(whole), settings.undisturbed, settings.pool, say)
    resign(whole, lambda fields: fields.update(surprise=levels))
    with replacing(settings.out) as place:
        shutil.copytree(whole, place, dirs_exist_ok=True)
    shutil.rmtree(whole, ignore_errors=True)
    return settings.out


def _check_device(device: str) -> None:
    if device == "cuda" and not torch.cuda.is_available():
        raise ModelError(
            f"--device cuda: this torch ({torch.__version__}) finds no GPU; install a torch with CUDA "
            "and the card's driver, or train with --device cpu"
        )


def _check_places(work: Path, out: Path) -> None:
    """See now, not hours later, that the bundle can go where it is to go.

    Raises:
        ModelError: it cannot.
    """
    check_place(out)
    a, b = work.resolve(), out.resolve()
    if a.is_relative_to(b) or b.is_relative_to(a):
        raise ModelError(
            f"the bundle's folder {out} and the work folder {work} lie in one another; "
            "give an --out apart from --work"
        )


def _decoder(
    settings: TrainSettings, trainer: Trainer, files: list[Path], mirror: Mirror, say: Callable[[str], None]
) -> None:  # fmt: skip
    """The decoder alone, once the beliefs it draws from stand still."""
    done = settings.work / "decoder.pt"
    if done.is_file():
        fill(done, trainer.world.decoder, load(done))
        return
    say("decoder: frames up to a second ahead")
    schedule = replace(
        trainer.schedule, updates=settings.decoder_updates, frame_dropout=0, senses_dropout=0, rate=1e-3,
        batch=settings.batch, length=settings.decoder_length,
    )  # fmt: skip
    progress = Progress(settings.work / "decoder", schedule.updates, 0, say)
    train_decoder(trainer.world, trainer.senses, Episodes(files, mirror), schedule, progress)
    save(trainer.world.decoder.state_dict(), done)


def _finder(
    settings: TrainSettings, trainer: Trainer, files: list[Path], say: Callable[[str], None]
) -> None:
    """The finder on the world model's episodes: the world model sees through it."""
    finder, updates = trainer.world.finder, settings.finder_updates
    with _stage(settings, "finder", finder, updates, say) as progress:
        if progress:
            train_finder(finder, files, updates, settings.seed, progress)


def _people(
    settings: TrainSettings, trainer: Trainer, files: list[Path], say: Callable[[str], None]
) -> None:
    """The people's filter, also on episodes that are new to the finder."""
    world, updates = trainer.world, settings.people_updates
    body = load_body(settings.body)
    full_m_s = body.joint[0].velocity_max_rad_s * body.geometry.wheel_radius_m
    with _stage(settings, "people", world.people, updates, say) as progress:
        if progress:
            train_people(
                world.people, world.finder, files, updates, settings.seed, progress,
                trainer.senses, full_m_s,
            )  # fmt: skip


@contextmanager
def _stage(
    settings: TrainSettings, name: str, module: nn.Module, updates: int, say: Callable[[str], None]
) -> Iterator[Progress | None]:
    """Around a stage's training, or None where it was done before; what it left is kept."""
    done = settings.work / f"{name}.pt"
    if done.is_file():
        fill(done, module, load(done))
        yield None
        return
    say(f"{name}: {updates} updates")
    yield Progress(settings.work / name, updates, 0, say)
    save(module.state_dict(), done)


def _policy_rounds(
    settings: TrainSettings,
    trainer: Trainer,
    files: list[Path],
    demonstrations: list[Path],
    mirror: Mirror,
    say: Callable[[str], None],
) -> list[Path]:
    """Drive, label, clone again: the world model stays, the policy learns from its own mistakes.

    It learns on episodes that the world model has never seen, for of those it was trained on a
    model knows more than it will know of any other; each as it was and in a mirror.
    Returns the episodes that it drove.
    """
    cloning = PolicyTrainer(trainer.world, trainer.policy, settings.seed)
    driven: list[Path] = []
    together = AT_ONCE[settings.device] // EPISODES_PER_FILE

    def learn_from(what: str, more: list[Path]) -> None:
        began = time.monotonic()
        for first in range(0, len(more), together):
            episodes = Episodes(more[first : first + together])
            cloning.add(episodes)
            cloning.add(episodes, mirror)
            done = min(first + together, len(more))
            left = (time.monotonic() - began) / done * (len(more) - done)
            say(f"policy: {done} of {len(more)} files of {what}, {left:.0f} s left")

    learn_from("demonstrations and their mirror images", demonstrations)
    first = len(settings.updates)
    for number in range(first, first + settings.policy_rounds + 1):
        done = settings.work / f"policy{number}.pt"
        if done.is_file():
            fill(done, trainer.policy, load(done))
        else:
            say(f"policy round {number}: cloning")
            cloning.train(
                settings.policy_updates,
                Progress(settings.work / f"policy{number}", settings.policy_updates, 0, say),
                round_number=number,
            )
            save(trainer.policy.state_dict(), done)
        if number == first + settings.policy_rounds:
            break
        more = _aggregate(settings, trainer, [*files, *demonstrations, *driven], number, say)
        learn_from("its own episodes and their mirror images", more)
        driven += more
    return driven


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
    first = first_seed(AGGREGATION_SEED + number * ROUND_STRIDE, settings.seed)
    wanted = CollectSettings(settings.body, settings.aggregate, first, bundle=str(bundle))
    return collect(wanted, folder, settings.pool, say)


def first_seed(stage: int, seed: int) -> int:
    """First seed of the episodes that a stage of a training of this seed collects."""
    return stage + seed * SEED_STRIDE


def sampled(files: list[Path]) -> list[Path]:
    """At most SAMPLED_FILES of them, from first to last: one room says little of all."""
    return files[:: -(-len(files) // SAMPLED_FILES)]


def _export(
    settings: TrainSettings, trainer: Trainer, files: list[Path], out: Path, version: str
) -> None:
    layout = load_body(settings.body).layout()
    sample = Episodes(sampled(files))
    length = min(SAMPLED_FRAMES, sample.length)
    schedule = replace(trainer.schedule, length=length, frame_dropout=0, senses_dropout=0)
    beliefs, on_rate = beliefs_of(
        trainer.world, sample.batch(schedule, generator(0)), warm_up=length // 6
    )
    seconds = settings.work / "seconds.txt"
    updates = trainer.update
    fields = draft(
        layout, settings.name, version,
        f"twin, {len(files)} files of episodes, {updates} updates, seed {settings.seed}, {settings.device}",
    )  # fmt: skip
    fields["training"] = Training(
        commit=_commit(),
        data_sha256=_digest(files),
        duration_s=float(seconds.read_text()) if seconds.is_file() else 0.0,
        updates=updates,
        seed=settings.seed,
    )
    with torch.device("cpu"), drawn_from(0):  # copies: what trains stays where it is, as it is
        world, policy = WorldModel(trainer.sizes), Policy(trainer.sizes)
        world.load_state_dict(trainer.world.state_dict())
        policy.load_state_dict(trainer.policy.state_dict())
        write_bundle(
            out,
            world.eval(),
            policy.eval(),
            on_rate.cpu(),
            beliefs.cpu(),
            fields,
            development_key(),
        )


def _commit() -> str:
    """The commit of this tree, `+` when it was changed since; empty outside of a checkout."""

    def git(*words: str) -> str:
        try:
            done = subprocess.run(
                ["git", *words], cwd=ROOT, capture_output=True, text=True, check=False
            )
        except OSError:  # no git here
            return ""
        return done.stdout.strip() if done.returncode == 0 else ""

    return git("rev-parse", "HEAD") + ("+" if git("status", "--porcelain") else "")


def _digest(files: list[Path]) -> str:
    """SHA-256 over the SHA-256 of every file of episodes, in order."""
    total = hashlib.sha256()
    for file in files:
        total.update(_sha256(file))
    return total.hexdigest()


@functools.cache
def _sha256(file: Path) -> bytes:
    """Of a file that stands still: every export of a training asks for all of them."""
    one = hashlib.sha256()
    with file.open("rb") as stream:
        while block := stream.read(1 << 22):
            one.update(block)
    return one.digest()
