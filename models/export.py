"""Export: networks to four static graphs, golden vectors, a signed manifest: one bundle directory.

opset 17 and IR 10 are pinned: the oldest runtimes we serve (ONNX Runtime 1.23 on JetPack 6,
TensorRT 10.3) read them.
"""

from __future__ import annotations

import hashlib
import warnings
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx
import tomli_w
import torch
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from torch import Tensor, nn

from models.layout import GOAL_SIZE, IMU_SLICES
from models.manifest import GraphSpec, Manifest, TensorSpec
from models.networks import SINCE, Policy, Stats, WorldModel, divergence
from models.place import replacing

OPSET = 17
IR_VERSION = 10
GOLDEN_ROWS = 2  # cases of a graph; a graph of many rows has them in one
GOLDEN_APART = 8  # different rows of such a graph; the others repeat them, which packs well
TOLERANCE = {"fp32": 2e-3, "fp16": 5e-2, "int8": 5e-1}
DRIFT = {"fp32": 1e-3}  # a variant in another precision declares its own


class Observe(nn.Module):
    """observe.onnx: previous belief and what came -> belief and its surprise."""

    def __init__(self, world: WorldModel, on_rate: Tensor) -> None:
        super().__init__()
        self.w = world
        p = on_rate.clamp(1e-3, 1 - 1e-3)
        self.register_buffer("on_cost", -p.log())
        self.register_buffer("off_cost", -(1 - p).log())

    def forward(
        self,
        belief: Tensor,
        frame: Tensor,
        imu: Tensor,
        proprio: Tensor,
        odometry: Tensor,
        action: Tensor,
        mask: Tensor,
        noise: Tensor,
    ) -> tuple[Tensor, ...]:
        """Belief (1,B), surprise channels each (1,1), people (1,H*5) and senses (1,P+6) as believed."""
        w = self.w
        h, z, slots = w.split(belief)
        h = w.cell(h, z, action)
        prior = w.prior(h)
        embed, moments = w.embedding(frame, imu, proprio, odometry, mask)
        hidden = w.post_net[1](w.post_net[0](torch.cat([h, embed], -1)))
        posterior = w.stats(w.post_net[3](w.post_net[2](hidden)))
        z = posterior.noisy(noise)
        sensed = w.sense(w.trunk(torch.cat([h, prior.expected()], -1)))
        slots = w.people(slots, self._measured(sensed, imu, proprio, mask), moments, mask[:, 0:1])
        error = (sensed[:, -6:] - imu.mean(1)).square().mean(-1, keepdim=True) * mask[:, 1:2]
        on = (hidden > 0).to(belief.dtype)
        rarity = (on * self.on_cost + (1 - on) * self.off_cost).mean(-1, keepdim=True)
        out = torch.cat([h, z, slots.flatten(1)], -1)
        person = w.people.fields(slots).flatten(1)
        return (
            out,
            divergence(posterior, prior)[:, None],
            error,
            rarity,
            person,
            w.sense(w.trunk(torch.cat([h, z], -1))),
        )

    def _measured(self, sensed: Tensor, imu: Tensor, proprio: Tensor, mask: Tensor) -> Tensor:
        """Senses (1,P+6): measured where they are there, else as the prior expects them."""
        p = proprio.shape[-1]
        has_proprio, has_imu = mask[:, 2:3], mask[:, 1:2]
        return torch.cat(
            [
                has_proprio * proprio + (1 - has_proprio) * sensed[:, :p],
                has_imu * imu.mean(1) + (1 - has_imu) * sensed[:, p:],
            ],
            -1,
        )


class Imagine(nn.Module):
    """imagine.onnx: N candidates one step into the prior."""

    def __init__(self, world: WorldModel) -> None:
        super().__init__()
        self.w = world

    def forward(
        self, belief: Tensor, action: Tensor, noise: Tensor, skill: Tensor, goal: Tensor
    ) -> tuple[Tensor, ...]:
        """Belief (N,B), senses (N,P+6), people (N,H*5), bump (N,1), near (N,S), reward (N,1)."""
        w = self.w
        b, x = w.step(belief, action, partial(Stats.noisy, noise=noise))
        reward = w.reward(torch.cat([x, skill, goal], -1))
        person = w.who(b).flatten(1)
        return b, w.sense(x), person, w.bump(x).sigmoid(), w.near(x).sigmoid(), reward


class Decode(nn.Module):
    """decode.onnx: belief, the last frame seen and what happened since -> expected frame."""

    def __init__(self, world: WorldModel) -> None:
        super().__init__()
        self.w = world

    def forward(self, belief: Tensor, frame: Tensor, since: Tensor) -> Tensor:
        """Frame (1,3,64,64) in 0..1."""
        return self.w.decoder(belief[:, : self.w.s.core], frame, since).clamp(0, 1)


@dataclass
class Graph:
    """One graph ready to export: module, input tensors by name, output names."""

    module: nn.Module
    inputs: dict[str, Tensor]
    outputs: tuple[str, ...]


def graphs(world: WorldModel, policy: Policy, on_rate: Tensor, candidates: int) -> dict[str, Graph]:
    """The four graphs with example inputs of their static shapes."""
    s = world.s
    belief = torch.zeros(1, s.belief)
    noise = torch.zeros(1, s.stoch)
    skill, goal = torch.zeros(1, s.skills), torch.zeros(1, GOAL_SIZE)
    frame = torch.zeros(1, 3, 64, 64)
    return {
        "observe": Graph(
            Observe(world, on_rate),
            {
                "belief": belief,
                "frame": frame,
                "imu": torch.zeros(1, IMU_SLICES, 6),
                "proprio": torch.zeros(1, s.proprio),
                "odometry": torch.zeros(1, 1),
                "action": torch.zeros(1, s.action),
                "mask": torch.ones(1, 3),
                "noise": noise,
            },
            ("belief_out", "divergence", "imu_error", "rarity", "person", "senses"),
        ),
        "imagine": Graph(
            Imagine(world),
            {
                "belief": belief.repeat(candidates, 1),
                "action": torch.zeros(candidates, s.action),
                "noise": noise.repeat(candidates, 1),
                "skill": skill.repeat(candidates, 1),
                "goal": goal.repeat(candidates, 1),
            },
            ("belief_out", "senses", "person", "bump", "near", "reward"),
        ),
        "decode": Graph(
            Decode(world),
            {"belief": belief, "frame": frame, "since": torch.zeros(1, SINCE)},
            ("frame_out",),
        ),
        "policy": Graph(
            policy,
            {
                "belief": belief,
                "age_s": torch.zeros(1, 1),
                "proprio": torch.zeros(1, s.proprio),
                "imu": torch.zeros(1, 6),
                "skill": skill,
                "goal": goal,
            },
            ("action",),
        ),
    }


def export_graph(graph: Graph, file: Path) -> None:
    """Write one static graph: opset 17, IR 10, weights inside the file."""
    module = graph.module.eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's deprecation notes help nobody here
        torch.onnx.export(
            module,
            tuple(graph.inputs.values()),
            str(file),
            input_names=list(graph.inputs),
            output_names=list(graph.outputs),
            opset_version=OPSET,
            dynamo=False,
        )
    model = onnx.load(str(file))
    with torch.no_grad():
        results = module(*graph.inputs.values())
    results = results if isinstance(results, tuple) else (results,)
    for said, result in zip(model.graph.output, results, strict=True):
        shape = said.type.tensor_type.shape
        del shape.dim[:]  # some exporters leave names where they could not infer a number
        for size in result.shape:
            shape.dim.add().dim_value = size
    model.ir_version = IR_VERSION
    onnx.checker.check_model(model)
    onnx.save(model, str(file))


def golden_vectors(graph: Graph, cases: list[dict[str, Tensor]]) -> dict[str, np.ndarray[Any, Any]]:
    """Stack inputs and the torch outputs of each case on the first axis."""
    out: dict[str, list[np.ndarray[Any, Any]]] = {}
    for case in cases:
        with torch.no_grad():
            result = graph.module(*[case[name] for name in graph.inputs])
        result = result if isinstance(result, tuple) else (result,)
        for name, value in case.items():
            out.setdefault(f"in.{name}", []).append(value.numpy())
        for name, value in zip(graph.outputs, result, strict=True):
            out.setdefault(f"out.{name}", []).append(value.numpy())
    return {key: np.stack(values).astype(np.float32) for key, values in out.items()}


def random_cases(graph: Graph, beliefs: Tensor, seed: int, gumbels: int) -> list[dict[str, Tensor]]:
    """Inputs of the right shapes: beliefs from data, the rest random within normal ranges.

    Noise is Gumbel in its first `gumbels` columns, then normal; none (the mode) in the first row of all.
    """
    g = torch.Generator().manual_seed(seed)
    cases: list[dict[str, Tensor]] = []
    for _ in range(max(1, GOLDEN_ROWS // graph.inputs["belief"].shape[0])):
        case = {}
        for name, example in graph.inputs.items():
            n = example.shape[0]
            shape = (min(n, GOLDEN_APART), *example.shape[1:])
            if name == "belief":
                drawn = beliefs[torch.randint(0, len(beliefs), shape[:1], generator=g)]
            elif name == "noise":
                drawn = torch.randn(shape, generator=g)
                drawn[:, :gumbels] = -torch.empty(shape[0], gumbels).exponential_(generator=g).log()
                drawn[0] *= bool(cases)
            elif name == "mask":
                drawn = example[: shape[0]]
            elif name == "frame":
                drawn = torch.randint(0, 256, shape, generator=g) / 255
            else:
                drawn = torch.rand(shape, generator=g) * 1.2 - 0.6
            case[name] = drawn.repeat(-(-n // shape[0]), *[1] * (drawn.dim() - 1))[:n]
        cases.append(case)
    return cases


def tensor_specs(graph: Graph, golden: dict[str, np.ndarray[Any, Any]], file: str) -> GraphSpec:
    """The manifest's description of a graph, read off its golden vectors."""

    def specs(prefix: str) -> tuple[TensorSpec, ...]:
        return tuple(
            TensorSpec(name=k[len(prefix) :], shape=v.shape[1:])
            for k, v in golden.items()
            if k.startswith(prefix)
        )

    return GraphSpec(file=file, inputs=specs("in."), outputs=specs("out."), tolerance=TOLERANCE)


def write_bundle(
    folder: Path,
    world: WorldModel,
    policy: Policy,
    on_rate: Tensor,
    beliefs: Tensor,
    manifest: dict[str, Any],
    key: Ed25519PrivateKey,
) -> None:
    """Write a whole bundle beside its place and rename it there, so that no half bundle exists.

    Args:
        folder: where the bundle goes.
        world: trained world model.
        policy: trained policy.
        on_rate: (hidden,) how often each unit of the posterior net is on, over training data.
        beliefs: (M, B) beliefs from data, for the golden vectors.
        manifest: the manifest's fields but graphs, sha256, opset and ir_version.
        key: signs manifest.toml.

    Raises:
        ModelError: `check_place`.
    """
    with replacing(folder) as work:
        golden: dict[str, np.ndarray[Any, Any]] = {}
        specs: dict[str, GraphSpec] = {}
        for seed, (name, graph) in enumerate(
            graphs(world, policy, on_rate, manifest["candidates"]).items()
        ):
            export_graph(graph, work / f"{name}.onnx")
            vectors = golden_vectors(graph, random_cases(graph, beliefs, seed, world.s.onehot))
            golden.update({f"{name}.{k}": v for k, v in vectors.items()})
            specs[name] = tensor_specs(graph, vectors, f"{name}.onnx")
        save: Any = np.savez_compressed  # its keyword arguments are both options and arrays
        save(work / "golden.npz", **golden)
        hashes = {
            p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(work.iterdir())
        }
        fields = manifest | {"drift": manifest["drift"] or DRIFT}
        full = Manifest(**fields, opset=OPSET, ir_version=IR_VERSION, graphs=specs, sha256=hashes)
        raw = tomli_w.dumps(msgspec.to_builtins(full)).encode()
        (work / "manifest.toml").write_bytes(raw)
        (work / "manifest.sig").write_bytes(key.sign(raw))
