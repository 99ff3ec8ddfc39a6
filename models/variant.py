"""A bundle in reduced precision: the same networks, its own golden vectors, tolerances and drift.

Golden outputs are those of the fp32 graphs. Their noise pushes each group's class by PUSH nats, so
that rounding cannot turn one class into another there: how often it does in use is the drift's part.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx
import tomli_w
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from models.backend import Session, golden_error
from models.backend_onnxruntime import OnnxRuntimeSession
from models.bundle import Bundle
from models.errors import BundleError, ModelError
from models.manifest import GRAPHS, GraphSpec, Manifest
from models.observations import Feed, Observations, picture, smooth
from models.parity import DRIFT_STEPS, LAST, beliefs_along
from models.place import replacing
from models.reduce import to_fp16, to_int8
from models.sizes import MOTION, Sizes

PUSH = 8.0  # nats
# of what ONNX Runtime's CPU measures, which rounds fp16 weights but adds in fp32: true fp16 is 4 times it
MARGIN = {"fp16": 10.0, "int8": 4.0}
DRIFT_MARGIN = 2.0
LEAST = 1e-3  # tolerance
FEEDS = 400  # of calibration, per graph
DRIFT_SEEDS = (0, 1)
HELD_OUT = 2  # recorded sequences that tell the drift, and no range where there are more
BACKEND = "ort-cpu"


def write_variant(
    bundle: Bundle,
    precision: str,
    out: Path,
    recorded: Sequence[Observations],
    key: Ed25519PrivateKey,
) -> Bundle:
    """Write the variant of an fp32 bundle, whole or not at all.

    Args:
        bundle: the fp32 bundle.
        precision: "fp16" or "int8".
        out: the new bundle's directory.
        recorded: sequences of observations that span the ranges of int8; made-up ones if none. Of
            more than HELD_OUT the first so many tell the drift instead.
        key: signs the new manifest.

    Raises:
        ModelError: it cannot be written there, or what it computes is no number.
    """
    m = bundle.manifest
    if m.precision != "fp32":
        raise BundleError(f"{bundle.path} is {m.precision} already; export from its fp32 bundle")
    sessions = {g: OnnxRuntimeSession(bundle, g, BACKEND) for g in GRAPHS}
    ranges = recorded[HELD_OUT:] or recorded or [smooth(m, 100, s) for s in (10, 11)]
    with replacing(out) as work:
        golden = pushed_golden(m, sessions, bundle.golden())
        feeds = _feeds(m, sessions, ranges, golden)
        for graph in GRAPHS:
            _reduce(bundle, graph, precision, work, feeds[graph])
        save: Any = np.savez_compressed  # its keyword arguments are both options and arrays
        save(work / "golden.npz", **golden)
        manifest = _manifest(bundle, precision, work, golden)
        manifest = _measured(Bundle(work, manifest, "", ""), golden, sessions, list(recorded))
        raw = tomli_w.dumps(msgspec.to_builtins(manifest)).encode()
        (work / "manifest.toml").write_bytes(raw)
        (work / "manifest.sig").write_bytes(key.sign(raw))
    return Bundle(out, manifest, hashlib.sha256(raw).hexdigest(), "")


def _reduce(bundle: Bundle, graph: str, precision: str, work: Path, feeds: list[Feed]) -> None:
    file = work / bundle.manifest.graphs[graph].file
    if precision == "fp16":
        onnx.save(to_fp16(onnx.load(str(bundle.graph(graph)))), str(file))
    else:
        to_int8(bundle.graph(graph), file, feeds)


def _manifest(bundle: Bundle, precision: str, work: Path, golden: dict[str, Any]) -> Manifest:
    m = bundle.manifest
    hashes = {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(work.iterdir())}
    loose = {  # until it is measured
        name: msgspec.structs.replace(spec, tolerance={precision: math.inf})
        for name, spec in m.graphs.items()
    }
    return msgspec.structs.replace(
        m, version=f"{m.version}-{precision}", precision=precision, sha256=hashes, graphs=loose
    )


def _measured(
    reduced: Bundle,
    golden: dict[str, Any],
    exact: dict[str, OnnxRuntimeSession],
    recorded: list[Observations],
) -> Manifest:
    """The manifest with what its own graphs need, measured on ONNX Runtime."""
    m = reduced.manifest
    specs: dict[str, GraphSpec] = {}
    for name, spec in m.graphs.items():
        session = OnnxRuntimeSession(reduced, name, BACKEND)
        worst = _finite(golden_error(session, golden, name), f"{name} in {m.precision}")
        allowed = rounded_up(max(LEAST, MARGIN[m.precision] * worst))
        specs[name] = msgspec.structs.replace(spec, tolerance={m.precision: allowed})
    observe = OnnxRuntimeSession(reduced, "observe", BACKEND)
    apart = [
        drift_end(exact["observe"], observe, s)
        for s in [*(smooth(m, DRIFT_STEPS, s) for s in DRIFT_SEEDS), *recorded[:HELD_OUT]]
    ]
    worst = max(_finite(a, f"the belief in {m.precision}") for a in apart)
    drift = {m.precision: rounded_up(max(LEAST, DRIFT_MARGIN * worst))}
    return msgspec.structs.replace(m, graphs=specs, drift=drift)


def _finite(value: float, what: str) -> float:
    if not math.isfinite(value):
        raise ModelError(
            f"{what} computes numbers that are none ({value}): its weights do not fit that precision; "
            "use the fp32 bundle"
        )
    return value


def rounded_up(value: float) -> float:
    """To two digits, upwards: a manifest reads better so."""
    if not 0 < value < math.inf:
        return value
    digit = 10.0 ** (math.floor(math.log10(value)) - 1)
    return float(f"{math.ceil(value / digit) * digit:.3g}")


def drift_end(a: Session, b: Session, sequence: Observations) -> float:
    """Mean |difference| of two sessions' beliefs at the end, each in its own loop."""
    apart = np.abs(beliefs_along(a, sequence, DRIFT_STEPS) - beliefs_along(b, sequence, DRIFT_STEPS))  # fmt: skip
    return float(apart[-LAST:].mean())


def pushed_golden(
    m: Manifest, sessions: dict[str, OnnxRuntimeSession], golden: dict[str, Any]
) -> dict[str, Any]:
    """Golden vectors whose noise pushes the classes that fp32 chose."""
    out = dict(golden)
    gumbels = m.groups * m.classes
    deter = m.belief - m.noise - len(m.hues) * (Sizes.memory + MOTION)
    for graph in GRAPHS:
        session = sessions[graph]
        names = list(session.inputs)
        cases = len(golden[f"{graph}.in.{names[0]}"])
        noise = f"{graph}.in.noise"
        if noise in out:
            chosen = golden[f"{graph}.out.belief_out"][..., deter : deter + gumbels]
            out[noise] = golden[noise].copy()
            out[noise][..., :gumbels] = PUSH * chosen
        results: dict[str, list[Any]] = {name: [] for name in session.outputs}
        for case in range(cases):
            for name in names:
                session.inputs[name][...] = out[f"{graph}.in.{name}"][case]
            session.run()
            for name, value in session.outputs.items():
                results[name].append(value.copy())
        out |= {f"{graph}.out.{k}": np.stack(v) for k, v in results.items()}
    return out


def _feeds(
    m: Manifest,
    sessions: dict[str, OnnxRuntimeSession],
    sequences: Sequence[Observations],
    golden: dict[str, Any],
) -> dict[str, list[Feed]]:
    """Inputs of every graph as they occur along sequences, and the golden ones."""
    out: dict[str, list[Feed]] = {g: _golden_feeds(g, golden) for g in GRAPHS}
    rng = np.random.default_rng(0)
    observe = sessions["observe"]
    total = sum(len(s) for s in sequences)
    every = max(1, total // FEEDS)
    for sequence in sequences:
        beliefs = beliefs_along(observe, sequence, len(sequence))
        for t in range(1, len(sequence), every):
            out["observe"].append(sequence.feed(t, beliefs[t - 1], m.noise))
            out["decode"].append(_decode_feed(sequence, beliefs, t, rng))
            out["policy"].append(_policy_feed(m, sequence, beliefs[t], t, rng))
            if t % (16 * every) == 1 or len(out["imagine"]) < 8:
                out["imagine"].append(_imagine_feed(m, sequence, beliefs, rng))
    return out


def _golden_feeds(graph: str, golden: dict[str, Any]) -> list[Feed]:
    prefix = f"{graph}.in."
    ins = {k[len(prefix) :]: v for k, v in golden.items() if k.startswith(prefix)}
    return [{k: v[i] for k, v in ins.items()} for i in range(len(next(iter(ins.values()))))]


def _decode_feed(s: Observations, beliefs: Any, t: int, rng: np.random.Generator) -> Feed:
    since = rng.uniform(-0.3, 0.3, (1, 6)).astype(np.float32)
    since[0, 5] = abs(since[0, 5])
    return {"belief": beliefs[t][None], "frame": picture(s.frame[t - 1])[None], "since": since}


def _skill_and_goal(m: Manifest, rng: np.random.Generator) -> tuple[Any, Any]:
    from models.layout import GOAL_SIZE

    skill = np.zeros((1, len(m.skills)), np.float32)
    skill[0, rng.integers(len(m.skills))] = 1
    return skill, rng.uniform(-1, 1, (1, GOAL_SIZE)).astype(np.float32)


def _policy_feed(
    m: Manifest, s: Observations, belief: Any, t: int, rng: np.random.Generator
) -> Feed:
    skill, goal = _skill_and_goal(m, rng)
    return {
        "belief": belief[None], "age_s": np.full((1, 1), rng.uniform(0, 0.08), np.float32),
        "proprio": s.proprio[t][None], "imu": s.imu[t].mean(0)[None], "skill": skill, "goal": goal,
    }  # fmt: skip


def _imagine_feed(m: Manifest, s: Observations, beliefs: Any, rng: np.random.Generator) -> Feed:
    n, gumbels = m.candidates, m.groups * m.classes
    rows = rng.integers(0, len(s), n)
    skill, goal = _skill_and_goal(m, rng)
    noise = rng.normal(0, 1, (n, m.noise))
    noise[:, :gumbels] = rng.gumbel(0, 1, (n, gumbels))
    return {
        "belief": beliefs[rows], "action": s.action[rows], "noise": noise.astype(np.float32),
        "skill": skill.repeat(n, 0), "goal": goal.repeat(n, 0),
    }  # fmt: skip
