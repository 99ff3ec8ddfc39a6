"""Collecting episodes in lockstep: what perception feeds to `observe`, and the expert's labels.

The same parts run as on the robot; only the world model's and the policy's places are taken by
recorders, so that training sees exactly what the graphs will see. Every state is labelled with
what the expert would do in it for every skill.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from models.bundle import Bundle
from models.layout import SKILLS, Layout
from models.manifest import Manifest
from models.policy import Policy
from models.world import World
from runtime.body import load_body
from runtime.channels import channel_table
from tools.compose import RunSettings, Setup, load_policy, open_world, prepare
from tools.lockstep_run import LockstepRun, Overrides
from tools.train.draft import draft_manifest
from tools.train.labels import Labeller
from tools.train.pool import Pool
from tools.train.settings import EPISODE_S
from tools.twin.expert import Expert
from tools.twin.judge import reward
from tools.twin.scenario import EASY, HARD, OPEN, Scenario
from tools.twin.task import Task, tasks_of
from tools.twin.truth import TRUTH
from tools.twin.twin import Twin

Float32 = npt.NDArray[np.float32]
EPISODES_PER_FILE = 4
LEARNED = SKILLS[1:]
# How often each learned skill drives while collecting.
SHARES = {"follow": 0.35, "approach": 0.2, "look_at": 0.25, "search": 0.1, "go_to": 0.1}
CHANGE_S = (5.0, 10.0)  # a skill drives so long, then another one
HIDES = 0.3  # more often than where it is judged: what is rare must be learned too
WILD_SHARE = 0.1  # of expert episodes: random driving
HEAD, HEAD_SHARE = ("head_yaw", "head_pitch"), 0.4  # a head that whirls sees nothing to learn from


@dataclass(frozen=True)
class CollectSettings:
    """One collection: whose actions drive, and how disturbed."""

    body: str
    episodes: int
    first_seed: int
    duration_s: float = EPISODE_S
    bundle: str = (
        ""  # empty: the expert drives; else this bundle's policy, with the expert mixed in
    )


def scenario_for(seed: int) -> Scenario:
    """Seven scenes of ten are hard, half of those start with the target out of view."""
    kind = np.random.default_rng([seed, 0x5CE]).random()
    if kind < 0.2:
        return EASY
    if kind < 0.3:
        return OPEN
    return replace(HARD, hides=HIDES, start_hidden=1.0 if kind < 0.6 else 0.0)


class RecordingWorld:
    """Stands in the world model's place: records what it is fed, passes on to a real one."""

    def __init__(self, belief: int, inner: World | None) -> None:
        self._inner = inner
        self.candidates = 0
        self.belief: Float32 = inner.belief if inner else np.zeros(belief, np.float32)
        self._frame = np.zeros((3, 64, 64), np.float32)
        self.imu: list[Float32] = []
        self.proprio: list[Float32] = []
        self.odometry: list[float] = []
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

    def people(self) -> Float32:
        """See `World`; nobody before there is a model."""
        return self._inner.people() if self._inner else np.zeros((0, 5), np.float32)

    def observe(
        self, imu: Float32, proprio: Float32, odometry: float, action: Float32, mask: Float32
    ) -> dict[str, float]:
        """See `World`."""
        self.imu.append(imu.copy())
        self.proprio.append(proprio.copy())
        self.odometry.append(odometry)
        self.action.append(action.copy())
        frame = np.rint(self.frame_input * 255).astype(np.uint8)
        self.frames.append(frame.transpose(1, 2, 0).copy())
        if self._inner:
            return self._inner.observe(imu, proprio, odometry, action, mask)
        return {"divergence": 0.0, "imu_error": 0.0, "rarity": 0.0}


class RecordingPolicy:
    """Stands in the policy's place: asks the expert for labels, drives with a disturbed mixture."""

    def __init__(self, layout: Layout, seed: int, inner: Policy | None) -> None:
        self._inner = inner
        self._rng = np.random.default_rng([seed, 0xD1CE])
        self._noise = np.zeros(layout.action_size)
        self._share = np.array([HEAD_SHARE if j.name in HEAD else 1.0 for j in layout.joints])
        kind = self._rng.random()
        self._sigma = 0.0 if kind < 0.25 else self._rng.uniform(0.1, 0.8)
        self._wild = inner is None and kind > 1 - WILD_SHARE
        self._expert_share = 0.0 if inner is None else self._rng.uniform(0.0, 0.6)
        self._ticks = 0
        self._burst_until = self._change_at = 0
        self._burst: Float32 = np.zeros(layout.action_size, np.float32)
        self._by_expert = True
        self._skill = LEARNED[0]
        self._frame = -1
        self._label_after = 0
        self.rows: dict[int, dict[str, Any]] = {}  # by belief number

    def attach(
        self,
        twin: Twin,
        tasks: dict[str, Task],
        number: Callable[[], int],
        behind_m: Callable[[], float],
    ) -> None:
        """What it drives, which belief the controller acts on, and how far back it lets it go."""
        self._twin, self._tasks, self._number = twin, tasks, number
        self.expert = Expert(twin, behind_m)

    def act(
        self,
        belief: Float32,
        age_s: float,
        proprio: Float32,
        imu: Float32,
        skill: int,
        goal: Float32,
    ) -> Float32:
        """See `Policy`; which skill drives is chosen here, not by the mind."""
        if self._ticks >= self._change_at:
            self._skill = str(self._rng.choice(LEARNED, p=[SHARES[s] for s in LEARNED]))
            self._change_at = self._ticks + int(100 * self._rng.uniform(*CHANGE_S))
        number = self._number()
        if number != self._frame:
            self._frame, self._label_after = number, self._ticks + int(self._rng.integers(5))
        if self._ticks >= self._label_after and number not in self.rows:
            self.rows[number] = {
                "tick_age_s": age_s,
                "tick_proprio": proprio.copy(),
                "tick_imu": imu.copy(),
                "expert": np.stack([self.expert.act(self._tasks[s]) for s in LEARNED]),
            }
        wanted = self._drive(belief, age_s, proprio, imu)
        self._ticks += 1
        noisy: Float32 = np.clip(wanted + self._noise, -1, 1).astype(np.float32)
        return noisy

    def _drive(self, belief: Float32, age_s: float, proprio: Float32, imu: Float32) -> Float32:
        rng, size = self._rng, len(self._noise)
        if self._ticks % 5 == 0:
            self._noise = (
                self._noise * 0.9 + rng.normal(0, 1, size) * 0.22 * self._sigma * self._share
            )
        if self._ticks % 100 == 0:  # once a second: who drives, and is there a burst
            self._by_expert = rng.random() < self._expert_share
            if self._sigma > 0 and rng.random() < (0.6 if self._wild else 0.15):
                self._burst_until = self._ticks + int(rng.uniform(40, 120))
                self._burst = (rng.uniform(-1, 1, size) * 0.8 * self._share).astype(np.float32)
        if self._ticks < self._burst_until:
            return self._burst
        if self._wild:
            return np.full(size, 0.02, np.float32)
        task = self._tasks[self._skill]
        if self._inner is None or self._by_expert:
            return self.expert.act(task)
        goal = task.goal(self._twin.pose())
        return self._inner.act(belief, age_s, proprio, imu, SKILLS.index(self._skill), goal)


def collect_setup(settings: CollectSettings, seed: int) -> Setup:
    """A run's setup, also before any bundle exists."""
    run = RunSettings(body=settings.body, seed=seed, lockstep=True)
    if settings.bundle:
        return prepare(replace(run, bundle=settings.bundle))
    body = load_body(settings.body)
    manifest: Manifest = draft_manifest(body.layout())
    table = channel_table(manifest.belief, (body.camera.height, body.camera.width, 3))
    return Setup(run, body, body.layout(), Bundle(Path(), manifest, "", ""), table)


class Notes:
    """What the twin's truth says at each rendered frame."""

    def __init__(self, tasks: dict[str, Task], expert: Expert) -> None:
        self._tasks, self._expert, self._labeller = tasks, expert, Labeller()
        self.labels: list[dict[str, Any]] = []
        self._truth: list[npt.NDArray[np.void]] = []

    def __call__(self, twin: Twin) -> None:
        """Note one frame."""
        self._expert.look()
        labels = self._labeller(twin)
        labels["goal"] = np.stack([self._tasks[s].goal(twin.pose()) for s in LEARNED])
        self.labels.append(labels)
        row = np.zeros(1, TRUTH)
        twin.truth(row[0])
        self._truth.append(row)

    def rewards(self) -> Float32:
        """(frames, skills): the reward of every skill at every frame."""
        truth = np.concatenate(self._truth)
        return np.stack([reward(truth, self._tasks[s]) for s in LEARNED], 1).astype(np.float32)


def episode(settings: CollectSettings, seed: int) -> dict[str, npt.NDArray[Any]] | None:
    """One episode's arrays (see `models/training.py`), or None when it never became active."""
    setup = collect_setup(settings, seed)
    inner_world, inner_policy = None, None
    if settings.bundle:
        inner_world, _ = open_world(setup)
        inner_policy, _ = load_policy(setup)
    world = RecordingWorld(setup.bundle.manifest.belief, inner_world)
    policy = RecordingPolicy(setup.layout, seed, inner_policy)
    scenario = scenario_for(seed)
    notes: list[Notes] = []
    run = LockstepRun(
        setup,
        cast(World, world),
        policy,
        Overrides(scenario=scenario, on_render=lambda twin: notes[0](twin)),
    )
    tasks = tasks_of(seed, run.twin.scene, scenario)
    controller = run.controller
    policy.attach(run.twin, tasks, lambda: controller.belief_number, controller.behind_m)
    notes.append(Notes(tasks, policy.expert))
    run.run(settings.duration_s)
    return assemble(world, policy, notes[0])


def assemble(
    world: RecordingWorld, policy: RecordingPolicy, notes: Notes
) -> dict[str, npt.NDArray[Any]] | None:
    """Join observations, ticks and labels by frame number (1 is the first frame observed)."""
    usable = sorted(n for n in policy.rows if 0 < n <= min(len(notes.labels), len(world.frames)))
    if len(usable) < 64:
        return None
    rewards = notes.rewards()
    out: dict[str, list[Any]] = {}
    row = policy.rows[usable[0]]
    for n in range(usable[0], usable[-1] + 1):
        row = policy.rows.get(n, row)
        put = {
            "frame": world.frames[n - 1],
            "imu": world.imu[n - 1],
            "proprio": world.proprio[n - 1],
            "odometry": world.odometry[n - 1],
            "action": world.action[n - 1],
            "reward": rewards[n - 1],
            **row,
            **notes.labels[n - 1],
        }
        for key, value in put.items():
            out.setdefault(key, []).append(np.asarray(value))
    return {key: np.stack(values) for key, values in out.items()}


def worker(settings: CollectSettings, seeds: list[int], file: Path, frames: int) -> None:
    """Collect a file's worth of episodes, cut to one common length, and rename it into place."""
    episodes = []
    for seed in seeds:
        found = episode(settings, seed)
        if found is not None and len(found["action"]) >= frames:
            episodes.append({k: v[:frames] for k, v in found.items()})
    if not episodes:
        return
    arrays = {k: np.stack([e[k] for e in episodes]) for k in episodes[0]}
    work = file.with_suffix(f".{os.getpid()}.part.npz")
    save: Any = np.savez  # its keyword arguments are both options and arrays
    try:
        save(work, **arrays)
        work.replace(file)
    finally:
        work.unlink(missing_ok=True)  # there still if the disk is full


def collect(
    settings: CollectSettings, folder: Path, pool: Pool, say: Callable[[str], None]
) -> list[Path]:
    """Collect all episodes into `folder`, skipping files that are there; progress with time left."""
    folder.mkdir(parents=True, exist_ok=True)
    for stopped in folder.glob("*.part.npz"):  # by a process that was ended as it wrote
        stopped.unlink(missing_ok=True)
    frames = round(settings.duration_s * 20) - 12
    work = []
    for start in range(0, settings.episodes, EPISODES_PER_FILE):
        count = min(EPISODES_PER_FILE, settings.episodes - start)
        seeds = [settings.first_seed + start + i for i in range(count)]
        work.append((settings, seeds, folder / f"{settings.first_seed + start:08d}.npz", frames))
    missing = [w for w in work if not w[2].is_file()]
    began = time.monotonic()
    for done, _ in enumerate(pool.run(worker, missing), 1):
        left = (time.monotonic() - began) / done * (len(missing) - done)
        say(f"collected {done} of {len(missing)} files, {left:.0f} s left")
    return [w[2] for w in work if w[2].is_file()]
