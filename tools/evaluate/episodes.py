"""One closed-loop episode in lockstep: twin, gate, firmware and graphs, judged by the twin's truth.

`blackout`: the world model is given black frames. `frozen`: the belief is never updated. `shuffled`:
the observe graph's weights are permuted. A policy that works with any of these does not go by what it
sees; no channel of surprise stops it then, for a robot that never starts proves nothing. `expert`: the privileged driver in the policy's place, what returns are measured against.
"""

from __future__ import annotations

import math
import shutil
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from msgspec import structs

from models.backend import Session
from models.world import World
from runtime.log import Arrays
from runtime.modes import Mode
from runtime.surprise import moves
from tools.compose import RunSettings, Setup, load_policy, open_world, prepare
from tools.evaluate.context import Context
from tools.evaluate.open_loop import open_loop
from tools.lockstep_run import LockstepRun, Overrides
from tools.twin.expert import Expert
from tools.twin.judge import SkillResult
from tools.twin.scenario import HARD, Scenario
from tools.twin.task import Task, scenario_named
from tools.twin.twin import Twin

Float32 = npt.NDArray[np.float32]
ABLATED = ("blackout", "frozen", "shuffled")
KINDS = ("normal", "expert", *ABLATED)
DURATION_S = {"follow": 20.0, "look_at": 15.0, "approach": 15.0, "search": 15.0, "go_to": 15.0}
# Many things in the way, where imagining pays; the person walks as in every scene.
CLUTTER = replace(HARD, obstacles=(5, 8), occluders=(0, 1), distractors=(0, 1), hides=0.0)


@dataclass(frozen=True)
class Episode:
    """What to run. `scenario` is a name of the twin's, or `clutter`."""

    bundle: str
    seed: int
    skill: str = "follow"
    scenario: str = "hard"
    kind: str = "normal"
    foresight: int = 0
    duration_s: float = 0.0  # 0: the skill's usual
    context: bool = False  # also predict, open loop, along the way


def scene(episode: Episode) -> Scenario:
    """The scenario; searching starts with the target out of view, whatever the scene."""
    found = CLUTTER if episode.scenario == "clutter" else scenario_named(episode.scenario)
    return replace(found, start_hidden=1.0) if episode.skill == "search" else found


class BlindWorld(World):
    """A world model that is shown black frames; the camera's own checks go by the real ones."""

    def observe(
        self, imu: Float32, proprio: Float32, odometry: float, action: Float32, mask: Float32
    ) -> dict[str, float]:
        """See `World`; without a picture."""
        seen = self.frame_input.copy()
        self.frame_input[:] = 0
        out = super().observe(imu, proprio, odometry, action, mask)
        self.frame_input[:] = seen
        return out


class FrozenWorld(World):
    """A world model whose belief never changes: the policy is left without eyes."""

    def observe(
        self, imu: Float32, proprio: Float32, odometry: float, action: Float32, mask: Float32
    ) -> dict[str, float]:
        """See `World`; the belief stays what it was."""
        kept = self.belief.copy()
        out = super().observe(imu, proprio, odometry, action, mask)
        self.belief[:] = kept
        return out


class ExpertPolicy:
    """The privileged driver where a policy stands."""

    def __init__(self) -> None:
        self.expert: Expert | None = None
        self.task: Task | None = None

    def act(self, *_seen: Any) -> Float32:
        """See `Policy`; nothing that is seen matters."""
        assert self.expert is not None and self.task is not None
        return self.expert.act(self.task)

    def look(self, _twin: Twin) -> None:
        """Once per rendered frame."""
        if self.expert is not None:
            self.expert.look()


def shuffled_bundle(bundle: Path, folder: Path) -> Path:
    """A copy of a bundle whose observe weights are permuted (unsigned: loaded by the test only)."""
    import onnx
    from onnx import numpy_helper

    copy = folder / "shuffled"
    shutil.copytree(bundle, copy)
    model = onnx.load(str(copy / "observe.onnx"))
    rng = np.random.default_rng(0)
    for tensor in model.graph.initializer:
        values = numpy_helper.to_array(tensor)
        if values.dtype == np.float32 and values.size > 16:
            mixed = rng.permutation(values.ravel()).reshape(values.shape)
            tensor.CopyFrom(numpy_helper.from_array(mixed, tensor.name))
    onnx.save(model, str(copy / "observe.onnx"))
    return copy


def _shuffled_observe(bundle: Path) -> Session:
    import msgspec

    from models.backend_onnxruntime import OnnxRuntimeSession
    from models.bundle import Bundle
    from models.manifest import Manifest

    with tempfile.TemporaryDirectory() as folder:
        copy = shuffled_bundle(bundle, Path(folder))
        manifest = msgspec.toml.decode((copy / "manifest.toml").read_bytes(), type=Manifest)
        return OnnxRuntimeSession(Bundle(copy, manifest, "", ""), "observe", "ort-cpu")


def _world(setup: Setup, kind: str) -> World:
    world, _ = open_world(setup)
    manifest, path = setup.bundle.manifest, setup.bundle.path
    if kind == "blackout":
        return BlindWorld(manifest, *world.sessions)
    if kind == "frozen":
        return FrozenWorld(manifest, *world.sessions)
    if kind == "shuffled":
        return World(manifest, _shuffled_observe(path), *world.sessions[1:])
    return world


def never_alarmed(setup: Setup) -> Setup:
    """The same with alarm levels that nothing reaches."""
    m = setup.bundle.manifest
    levels = {name: structs.replace(t, event=math.inf) for name, t in m.surprise.items()}
    return replace(
        setup, bundle=replace(setup.bundle, manifest=structs.replace(m, surprise=levels))
    )


def settings_of(episode: Episode) -> RunSettings:
    """The run's settings; the scenario itself goes in by `Overrides`."""
    return RunSettings(
        bundle=episode.bundle,
        seed=episode.seed,
        skill=episode.skill,
        lockstep=True,
        foresight=episode.foresight,
    )


def run_episode(episode: Episode) -> dict[str, Any]:
    """Run it; a row of plain numbers."""
    setup = prepare(settings_of(episode))
    if episode.kind in ABLATED:
        setup = never_alarmed(setup)
    world = _world(setup, episode.kind)
    policy: Any = ExpertPolicy() if episode.kind == "expert" else load_policy(setup)[0]
    context = Context() if episode.context else None

    def rendered(twin: Twin) -> None:
        if isinstance(policy, ExpertPolicy):
            policy.look(twin)
        if context is not None:
            context.rendered(twin)

    overrides = Overrides(scenario=scene(episode), on_render=rendered)
    if context is not None:
        world = context.watch(world)
    run = LockstepRun(setup, world, policy, overrides)
    if isinstance(policy, ExpertPolicy):
        policy.expert, policy.task = Expert(run.twin, run.controller.behind_m), run.task
    result = run.run(episode.duration_s or DURATION_S[episode.skill])
    judged = result.skill or SkillResult(False, {})  # none: it never became active
    row: dict[str, Any] = {
        "success": bool(judged.success),
        "metrics": {k: round(float(v), 5) for k, v in judged.metrics.items()},
        "mode_final": result.mode_final,
        "active_s": round(active_s(result.records), 2),
        "holds": int(sum(e == "hold" for e in _modes(result.records))),
        "alarms": alarms_while_active(result.records),
        "wall_s": round(result.wall_s, 3),
        "virtual_s": round(result.virtual_s, 2),
    }
    if context is not None:
        row["open_loop"] = open_loop(context, world, setup)
    return row


def driven_frames(records: Arrays) -> npt.NDArray[np.bool_]:
    """(N,) Which frames' surprise counts: the policy drove, and had touched nothing."""
    surprise, status = records.get("surprise"), records.get("status")
    if surprise is None or status is None:
        return np.zeros(0 if surprise is None else len(surprise), bool)
    last = np.searchsorted(status["t_ns"], surprise["t_ns"], side="right") - 1
    driven: npt.NDArray[np.bool_] = (last >= 0) & (status["mode"][last] == Mode.ACTIVE)
    touched = records["truth"]["t_ns"][records["truth"]["bump"] > 0]
    if len(touched):
        driven &= surprise["t_ns"] < touched[0]
    return driven


def moved_frames(records: Arrays) -> npt.NDArray[np.bool_]:
    """(N,) At which frames of surprise the wheels were being sent to move."""
    sent, t_ns = records.get("sent"), records["surprise"]["t_ns"]
    if sent is None or not len(sent):
        return np.zeros(len(t_ns), bool)
    last = np.searchsorted(sent["t_ns"], t_ns, side="right") - 1
    went: npt.NDArray[np.bool_] = (last >= 0) & moves(sent["action"][last])
    return went


def alarms_while_active(records: Arrays) -> int:
    """How often a channel of surprise began to alarm while the policy drove and had touched nothing."""
    driven = driven_frames(records)
    if not driven.any():
        return 0
    above = records["surprise"]["above"].astype(np.int64)
    begun = above & ~np.concatenate([[0], above[:-1]])
    return sum(int(mask).bit_count() for mask in begun[driven])


def active_s(records: Arrays) -> float:
    """How long the policy drove [s]."""
    status = records.get("status")
    if status is None or len(status) < 2:
        return 0.0
    lasted = np.diff(status["t_ns"]) / 1e9
    return float(lasted[status["mode"][:-1] == Mode.ACTIVE].sum())


def _modes(records: Arrays) -> list[str]:
    """Modes the controller entered, in order."""
    status = records.get("status")
    if status is None:
        return []
    modes = [Mode(int(m)).name.lower() for m in status["mode"]]
    return [b for a, b in zip(modes, modes[1:], strict=False) if b != a]
