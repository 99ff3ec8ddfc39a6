"""Collecting episodes in lockstep: what perception feeds to `observe`, and the expert's labels.

The same parts run as on the robot; only the world model's and the policy's places are taken by
recorders, so that training sees exactly what the graphs will see.
"""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from models.bundle import Bundle
from models.layout import Layout
from models.manifest import Manifest
from models.policy import Policy
from models.world import World
from runtime.body import load_body
from runtime.channels import channel_table
from tools.compose import RunSettings, Setup, open_policy, open_world, prepare
from tools.lockstep_run import LockstepRun, Overrides
from tools.train.draft import draft_manifest
from tools.train.labels import Labeller
from tools.twin.expert import expert
from tools.twin.twin import Twin

Float32 = npt.NDArray[np.float32]
TICKS = 5
EPISODES_PER_FILE = 20


@dataclass(frozen=True)
class CollectSettings:
    """One collection: whose actions drive, and how disturbed."""

    body: str
    episodes: int
    first_seed: int
    duration_s: float = 20.0
    bundle: str = (
        ""  # empty: the expert drives; else this bundle's policy, with the expert mixed in
    )


class RecordingWorld:
    """Stands in the world model's place: records what it is fed, passes on to a real one."""

    def __init__(self, belief: int, inner: World | None) -> None:
        self._inner = inner
        self.candidates = 0
        self.belief: Float32 = inner.belief if inner else np.zeros(belief, np.float32)
        self._frame = np.zeros((3, 64, 64), np.float32)
        self.imu: list[Float32] = []
        self.proprio: list[Float32] = []
        self.action: list[Float32] = []
        self.frames: list[npt.NDArray[np.uint8]] = []

    @property
    def frame_input(self) -> Float32:
        """See `World`."""
        return self._inner.frame_input if self._inner else self._frame

    def reset(self, seed: int = 0) -> None:
        """See `World`."""
        if self._inner:
            self._inner.reset(seed)

    def observe(
        self, imu: Float32, proprio: Float32, action: Float32, mask: Float32
    ) -> dict[str, float]:
        """See `World`."""
        self.imu.append(imu.copy())
        self.proprio.append(proprio.copy())
        self.action.append(action.copy())
        frame = np.rint(self.frame_input * 255).astype(np.uint8)
        self.frames.append(frame.transpose(1, 2, 0).copy())
        if self._inner:
            return self._inner.observe(imu, proprio, action, mask)
        return {"divergence": 0.0, "imu_error": 0.0, "rarity": 0.0}


class RecordingPolicy:
    """Stands in the policy's place: asks the expert for a label, drives with a disturbed mixture."""

    def __init__(self, layout: Layout, seed: int, inner: Policy | None) -> None:
        self._inner = inner
        self._rng = np.random.default_rng([seed, 0xD1CE])
        self._noise = np.zeros(layout.action_size)
        kind = self._rng.random()
        self._sigma = 0.0 if kind < 0.25 else self._rng.uniform(0.1, 0.8)
        self._wild = inner is None and kind > 0.9  # an episode of random driving
        self._expert_share = 0.0 if inner is None else self._rng.uniform(0.0, 0.6)
        self._ticks = 0
        self._burst_until = 0
        self._by_expert = True
        self.rows: list[tuple[int, float, Float32, Float32, Float32]] = []
        self.twin: Twin | None = None
        self.number: Callable[[], int] = lambda: 0

    def act(
        self,
        belief: Float32,
        age_s: float,
        proprio: Float32,
        imu: Float32,
        skill: int,
        goal: Float32,
    ) -> Float32:
        """See `Policy`."""
        assert self.twin is not None
        label = np.asarray(expert(self.twin), np.float32)
        self.rows.append((self.number(), age_s, proprio.copy(), imu.copy(), label))
        wanted = self._drive(label, belief, age_s, proprio, imu, skill, goal)
        self._ticks += 1
        noisy: Float32 = np.clip(wanted + self._noise, -1, 1).astype(np.float32)
        return noisy

    def _drive(self, label: Float32, *seen: Any) -> Float32:
        rng = self._rng
        if self._ticks % 5 == 0:
            step = rng.normal(0, 1, len(label))
            self._noise = self._noise * 0.9 + step * 0.44 * self._sigma * 0.5
        if self._ticks % 100 == 0:  # once a second: who drives, and is there a burst
            self._by_expert = rng.random() < self._expert_share
            if self._sigma > 0 and rng.random() < 0.15:
                self._burst_until = self._ticks + int(rng.uniform(40, 120))
                self._burst = rng.uniform(-1, 1, len(label)).astype(np.float32) * 0.8
        if self._wild:
            return np.full(len(label), 0.02, np.float32)
        if self._ticks < self._burst_until:
            return self._burst
        if self._inner is None or self._by_expert:
            return label
        driven: Float32 = self._inner.act(*seen)
        return driven


def collect_setup(settings: CollectSettings, seed: int) -> Setup:
    """A run's setup, also before any bundle exists."""
    run = RunSettings(body=settings.body, seed=seed, lockstep=True)
    if settings.bundle:
        return prepare(replace(run, bundle=settings.bundle))
    body = load_body(settings.body)
    manifest: Manifest = draft_manifest(body.layout())
    table = channel_table(manifest.belief, (body.camera.height, body.camera.width, 3))
    return Setup(run, body, body.layout(), Bundle(Path(), manifest, "", ""), table)


def episode(settings: CollectSettings, seed: int) -> dict[str, npt.NDArray[Any]] | None:
    """One episode's arrays (see `models/training.py`), or None when it never became active."""
    setup = collect_setup(settings, seed)
    inner_world, inner_policy = None, None
    if settings.bundle:
        inner_world, _ = open_world(setup)
        inner_policy, _ = open_policy(setup)
    world = RecordingWorld(setup.bundle.manifest.belief, inner_world)
    policy = RecordingPolicy(setup.layout, seed, inner_policy)
    labels: list[dict[str, Any]] = []
    labeller = Labeller()
    run = LockstepRun(
        setup,
        cast(World, world),
        policy,
        Overrides(on_render=lambda twin: labels.append(labeller(twin))),
    )
    policy.twin = run.twin
    policy.number = lambda: run.controller.belief_number
    run.run(settings.duration_s)
    return assemble(world, policy, labels, setup.goal())


def assemble(
    world: RecordingWorld, policy: RecordingPolicy, labels: list[dict[str, Any]], goal: Float32
) -> dict[str, npt.NDArray[Any]] | None:
    """Join observations, ticks and labels by frame number (1 is the first frame observed)."""
    ticks: dict[int, list[tuple[int, float, Float32, Float32, Float32]]] = {}
    for row in policy.rows:
        ticks.setdefault(row[0], []).append(row)
    usable = sorted(n for n, rows in ticks.items() if len(rows) >= TICKS - 1 and n <= len(labels))
    if len(usable) < 64:
        return None
    first, last = usable[0], usable[-1]
    out: dict[str, list[Any]] = {}
    for n in range(first, last + 1):
        rows = ticks.get(n, ticks[usable[0]])
        rows = (rows + [rows[-1]] * TICKS)[:TICKS]
        put = {
            "frame": world.frames[n - 1],
            "imu": world.imu[n - 1],
            "proprio": world.proprio[n - 1],
            "action": world.action[n - 1],
            "tick_age_s": [r[1] for r in rows],
            "tick_proprio": [r[2] for r in rows],
            "tick_imu": [r[3] for r in rows],
            "tick_expert": [r[4] for r in rows],
            **labels[n - 1],
        }
        for key, value in put.items():
            out.setdefault(key, []).append(np.asarray(value))
    arrays = {key: np.stack(values) for key, values in out.items()}
    arrays["goal"] = goal
    return arrays


def worker(settings: CollectSettings, seeds: list[int], file: Path, frames: int) -> None:
    """Collect a file's worth of episodes, cut to one common length, and rename it into place."""
    episodes = []
    for seed in seeds:
        found = episode(settings, seed)
        if found is not None and len(found["action"]) >= frames:
            episodes.append({k: v if k == "goal" else v[:frames] for k, v in found.items()})
    if not episodes:
        return
    arrays = {k: np.stack([e[k] for e in episodes]) for k in episodes[0]}
    work = file.with_suffix(f".{os.getpid()}.part.npz")
    save: Any = np.savez  # its keyword arguments are both options and arrays
    save(work, **arrays)
    work.replace(file)


def collect(
    settings: CollectSettings, folder: Path, jobs: int, say: Callable[[str], None]
) -> list[Path]:
    """Collect all episodes into `folder`, skipping files that are there; progress with time left."""
    folder.mkdir(parents=True, exist_ok=True)
    frames = round(settings.duration_s * 20) - 12
    work = []
    for start in range(0, settings.episodes, EPISODES_PER_FILE):
        count = min(EPISODES_PER_FILE, settings.episodes - start)
        seeds = [settings.first_seed + start + i for i in range(count)]
        work.append((settings, seeds, folder / f"{settings.first_seed + start:08d}.npz", frames))
    missing = [w for w in work if not w[2].is_file()]
    began = time.monotonic()
    with multiprocessing.get_context("spawn").Pool(jobs, maxtasksperchild=4) as pool:
        waiting = [pool.apply_async(worker, w) for w in missing]
        for done, result in enumerate(waiting, 1):
            result.get()
            left = (time.monotonic() - began) / done * (len(missing) - done)
            say(f"collected {done} of {len(missing)} files, {left:.0f} s left")
    return [w[2] for w in work if w[2].is_file()]
