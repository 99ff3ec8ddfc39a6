"""One closed-loop episode in lockstep: twin, gate, firmware and graphs, judged by the twin's truth.

`blackout`: the camera gives black frames. `frozen`: the belief is never updated. `shuffled`: the
observe graph's weights are permuted. A policy that works with any of these does not go by what it
sees. `expert`: the privileged driver in the policy's place, what returns are measured against.
"""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from models.backend import Session
from models.world import World
from tools.compose import RunSettings, Setup, load_policy, open_world, prepare
from tools.evaluate.context import Context
from tools.evaluate.open_loop import open_loop
from tools.lockstep_run import LockstepRun, Overrides
from tools.twin.expert import Expert
from tools.twin.judge import judge
from tools.twin.scenario import HARD, Scenario
from tools.twin.task import Task, scenario_named
from tools.twin.twin import Twin

Float32 = npt.NDArray[np.float32]
KINDS = ("normal", "expert", "blackout", "frozen", "shuffled")
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
    if kind == "frozen":
        return FrozenWorld(manifest, *world.sessions)
    if kind == "shuffled":
        return World(manifest, _shuffled_observe(path), *world.sessions[1:])
    return world


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
    world = _world(setup, episode.kind)
    policy: Any = ExpertPolicy() if episode.kind == "expert" else load_policy(setup)[0]
    context = Context() if episode.context else None

    def rendered(twin: Twin) -> None:
        if isinstance(policy, ExpertPolicy):
            policy.look(twin)
        if context is not None:
            context.rendered(twin)

    overrides = Overrides(
        scenario=scene(episode), dark=episode.kind == "blackout", on_render=rendered
    )
    if context is not None:
        world = context.watch(world)
    run = LockstepRun(setup, world, policy, overrides)
    if isinstance(policy, ExpertPolicy):
        policy.expert, policy.task = Expert(run.twin, run.controller.behind_m), run.task
    result = run.run(episode.duration_s or DURATION_S[episode.skill])
    truth = result.records["truth"]
    judged = judge(truth[truth["t_ns"] >= run.active_ns], run.task)
    row: dict[str, Any] = {
        "success": bool(judged.success),
        "metrics": {k: round(float(v), 5) for k, v in judged.metrics.items()},
        "mode_final": result.mode_final,
        "holds": int(sum(e == "hold" for e in _modes(result.records))),
        "wall_s": round(result.wall_s, 3),
        "virtual_s": round(result.virtual_s, 2),
    }
    if context is not None:
        row["open_loop"] = open_loop(context, world, setup)
    return row


def _modes(records: Any) -> list[str]:
    """Modes the controller entered, in order."""
    from runtime.modes import Mode

    status = records.get("status")
    if status is None:
        return []
    modes = [Mode(int(m)).name.lower() for m in status["mode"]]
    return [b for a, b in zip(modes, modes[1:], strict=False) if b != a]
