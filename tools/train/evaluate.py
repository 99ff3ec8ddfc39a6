"""`companion model evaluate`: closed loop on fresh seeds, with the ablations that must fail.

`blackout`: the camera gives black frames. `frozen`: the belief is never updated. `shuffled`: the
observe graph's weights are permuted. A policy that follows with any of these does not follow by
what it sees.
"""

from __future__ import annotations

import multiprocessing
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from models.backend import Session
from models.world import World
from tools.compose import RunSettings, open_policy, open_world, prepare
from tools.lockstep_run import LockstepRun, Overrides

Float32 = npt.NDArray[np.float32]
FRESH_SEED = 11_000_000
KINDS = ("normal", "blackout", "frozen", "shuffled")


class FrozenWorld(World):
    """A world model whose belief never changes: the policy is left without eyes."""

    def observe(
        self, imu: Float32, proprio: Float32, action: Float32, mask: Float32
    ) -> dict[str, float]:
        """See `World`; the belief stays what it was."""
        kept = self.belief.copy()
        out = super().observe(imu, proprio, action, mask)
        self.belief[:] = kept
        return out


@dataclass(frozen=True)
class Case:
    """One closed-loop episode."""

    bundle: str
    seed: int
    kind: str
    duration_s: float = 20.0


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


def run_case(case: Case) -> dict[str, Any]:
    """Run one episode; its judgement and the surprise and prediction that it saw."""
    setup = prepare(RunSettings(bundle=case.bundle, seed=case.seed, lockstep=True))
    world, _ = open_world(setup)
    policy, _ = open_policy(setup)
    if case.kind == "frozen":
        world = FrozenWorld(setup.bundle.manifest, *world.sessions)
    if case.kind == "shuffled":
        world = World(
            setup.bundle.manifest, _shuffled_observe(setup.bundle.path), *world.sessions[1:]
        )
    overrides = Overrides(dark=case.kind == "blackout")
    result = LockstepRun(setup, world, policy, overrides).run(case.duration_s)
    prediction = result.records.get("prediction")
    surprise = result.records.get("surprise")
    return {
        "seed": case.seed,
        "kind": case.kind,
        "success": bool(result.skill and result.skill.success),
        "metrics": dict(result.skill.metrics) if result.skill else {},
        "mode_final": result.mode_final,
        "prediction": []
        if prediction is None
        else prediction[["k", "model", "persistence"]].tolist(),
        "surprise": [] if surprise is None else surprise["value"].tolist(),
        "wall_s": result.wall_s,
    }


def _shuffled_observe(bundle: Path) -> Session:
    import msgspec

    from models.backend_onnxruntime import OnnxRuntimeSession
    from models.bundle import Bundle
    from models.manifest import Manifest

    with tempfile.TemporaryDirectory() as folder:
        copy = shuffled_bundle(bundle, Path(folder))
        manifest = msgspec.toml.decode((copy / "manifest.toml").read_bytes(), type=Manifest)
        return OnnxRuntimeSession(Bundle(copy, manifest, "", ""), "observe", "ort-cpu")


def evaluate(
    bundle: str, seeds: int, kinds: tuple[str, ...], jobs: int, say: Callable[[str], None],
    first_seed: int = FRESH_SEED, duration_s: float = 20.0,
) -> dict[str, list[dict[str, Any]]]:  # fmt: skip
    """All cases, in processes; results by kind."""
    cases = [Case(bundle, first_seed + i, kind, duration_s) for kind in kinds for i in range(seeds)]
    out: dict[str, list[dict[str, Any]]] = {kind: [] for kind in kinds}
    with multiprocessing.get_context("spawn").Pool(jobs) as pool:
        for done, result in enumerate(pool.imap(run_case, cases), 1):
            out[result["kind"]].append(result)
            good = sum(r["success"] for r in out[result["kind"]])
            say(
                f"{done}/{len(cases)} {result['kind']}: {good} of {len(out[result['kind']])} follow"
            )
    return out
