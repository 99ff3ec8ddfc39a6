"""`companion model parity`: whether every runtime here computes the same from a bundle."""

from __future__ import annotations

import argparse
import json
import math
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from models.backend import Session, golden_error
from models.backends import loaders
from models.bundle import Bundle, find_bundle, load_bundle
from models.errors import BundleError, GraphError
from models.manifest import DRIFT_LIMIT, GRAPHS, PRECISIONS
from models.observations import Observations, load, smooth
from models.parity import (
    DRIFT_STEPS,
    GOAL,
    Drift,
    OpenVinoSession,
    ReferenceSession,
    TorchSession,
    beliefs_along,
    compare,
    torch_heads,
)
from runtime.body import load_body
from runtime.errors import ConfigError
from tools.arguments import count
from tools.compose import DEFAULT_BUNDLE, engines_folder

Open = Callable[[Bundle, str], Session]
EXACT = ("torch", "onnx.reference", "openvino", "ort-cpu")  # CPUs: held to GOAL in fp32
SLOW = "onnx.reference"  # one case is enough for it: seconds per picture
SEQUENCES = 3
ABOUT = """
What is compared
  at once   each graph's golden vectors (inputs and torch's outputs, stored at export) on every
            runtime that is here: torch on the weights read out of the files, onnx.reference,
            openvino (pip install '.[parity]'), ort-cpu, ort-cuda, tensorrt. Largest |difference|
            of any output, beyond 1 as a share of it. Allowed: in fp32 on a CPU 1e-4, else the manifest's tolerance.
  in a loop 200 observations through torch in fp32 and through the exported observe graph on
            ort-cpu, each carrying its own belief. Allowed: `drift` of the manifest, at most what
            `model export` calls good.
            With --precisions and more than three recorded sequences, int8's ranges come from the others.
            A variant is compared with the fp32 bundle given by --against; without it with its own
            rounded weights in fp32, which leaves out what rounding the weights does.

JSON keys
  bundle, version, precision, goal, ok
  parity{runtime{graph{max_abs, allowed, ok}}}   or parity{runtime{absent: why}}
  drift{precision{steps, belief_end, belief_max, classes_apart, person_end_m, person_max_m,
    senses_end, senses_max, allowed, ok}}        or drift{absent: why},
                                                 or drift{precision{refused: why, ok}}
    belief_*: mean |difference| of the belief's numbers, over the last 20 steps and at its largest;
    classes_apart: share of the categorical groups with another class on;
    person_*: distance between where both say that the people present are [m];
    senses_*: mean |difference| of the expected senses, normalised

Exit codes: 0 all within what is allowed, 1 something is not, 2 wrong use.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `model parity`."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = ABOUT
    add = parser.add_argument
    add("--bundle", default=DEFAULT_BUNDLE, help="name or directory")
    add(
        "--against", default="", metavar="BUNDLE", help="the fp32 bundle that a variant was made of"
    )
    add("--precisions", default="", metavar="LIST", help="fp16,int8: make such variants of an fp32 bundle for a moment and compare them as well")  # fmt: skip
    add("--observations", type=Path, default=None, metavar="DIR", help="recorded observations (.npz) for the loop; made-up ones if not given")  # fmt: skip
    add("--steps", type=count, default=DRIFT_STEPS, help="steps of the loop")
    add("--json", action="store_true", help="print one JSON object")


def main(args: argparse.Namespace) -> int:
    """Compare, and exit 1 where something is out of tolerance."""
    more = [p for p in args.precisions.split(",") if p]
    unknown = [p for p in more if p not in PRECISIONS[1:]]
    if unknown:
        raise ConfigError(f"no precision {', '.join(unknown)}: known are fp16, int8")
    layout = load_body("companion").layout()
    bundle = load_bundle(find_bundle(args.bundle), layout)
    reference = load_bundle(find_bundle(args.against), layout) if args.against else bundle
    m = bundle.manifest
    recorded = load(args.observations, m) if args.observations else []
    sequences = recorded[:SEQUENCES] or [smooth(m, args.steps, seed) for seed in range(SEQUENCES)]
    found: dict[str, Any] = {
        "bundle": m.name, "version": m.version, "precision": m.precision, "goal": GOAL,
        "parity": at_once(bundle), "drift": in_a_loop([bundle], reference, sequences, args.steps),
    }  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        for precision in more:
            variant = _variant(bundle, precision, Path(folder), recorded[SEQUENCES:] or recorded)
            for name, graphs in at_once(variant).items():
                found["parity"][f"{name} {precision}"] = graphs
            found["drift"] |= in_a_loop([variant], reference, sequences, args.steps)
    found["ok"] = all(r["ok"] for r in _rows(found))
    print(json.dumps(found) if args.json else _table(found))
    return 0 if found["ok"] else 1


def _variant(
    bundle: Bundle, precision: str, folder: Path, sequences: Sequence[Observations]
) -> Bundle:
    from models.variant import write_variant
    from tools.train.signing import development_key

    return write_variant(bundle, precision, folder / precision, sequences, development_key())


def runtimes(bundle: Bundle) -> dict[str, Open | str]:
    """Every runtime by name: how to open a graph on it, or why it is not here."""
    out: dict[str, Open | str] = {}
    try:
        from models.export import graphs
        from models.weights import read_networks

        built = graphs(*read_networks(bundle), bundle.manifest.candidates)
        out["torch"] = lambda b, g: TorchSession(b, g, built)
    except ImportError as error:
        out["torch"] = f"not installed ({error}); pip install '.[train]'"
    except BundleError as error:
        out["torch"] = str(error)
    out["onnx.reference"] = ReferenceSession
    out["openvino"] = OpenVinoSession
    return {**out, **dict(reversed(loaders(engines_folder()).items()))}


def at_once(bundle: Bundle) -> dict[str, dict[str, Any]]:
    """The golden vectors of every graph on every runtime."""
    golden, m = bundle.golden(), bundle.manifest
    found: dict[str, dict[str, Any]] = {}
    for name, opens in runtimes(bundle).items():
        if isinstance(opens, str):
            found[name] = {"absent": opens}
            continue
        for graph in GRAPHS:
            few = {k: v[:1] for k, v in golden.items()} if name == SLOW else golden
            try:
                session = opens(bundle, graph)
                worst = golden_error(session, few, graph)
                session.close()
            except GraphError as error:
                found[name] = {"absent": str(error)}
                break
            allowed = m.graphs[graph].tolerance.get(m.precision, 0.0)
            if m.precision == "fp32" and name in EXACT:
                allowed = min(allowed, GOAL)
            row = {"max_abs": worst, "allowed": allowed, "ok": worst <= allowed}
            found.setdefault(name, {})[graph] = row
    return found


def in_a_loop(
    bundles: Sequence[Bundle], reference: Bundle, sequences: Sequence[Observations], steps: int
) -> dict[str, Any]:
    """How far the observe graphs drift from torch in fp32, the worst of all sequences."""
    try:
        from models.export import graphs
        from models.weights import read_networks
    except ImportError as error:
        return {"absent": f"needs torch and onnx ({error}); pip install '.[train]'"}
    try:
        world, policy, on_rate = read_networks(reference)
    except BundleError as error:
        return {reference.manifest.precision: {"refused": str(error), "ok": False}}
    built = graphs(world, policy, on_rate, reference.manifest.candidates)
    s = world.s
    exact = TorchSession(reference, "observe", built)
    right = [beliefs_along(exact, q, steps) for q in sequences]
    out: dict[str, Any] = {}
    for bundle in bundles:
        precision = bundle.manifest.precision
        session = loaders(engines_folder())["ort-cpu"](bundle, "observe")
        each = [
            compare(r, beliefs_along(session, q, steps), slice(s.deter, s.deter + s.onehot), torch_heads(world)).to_json()
            for r, q in zip(right, sequences, strict=True)
        ]  # fmt: skip
        worst = {k: np.max([e[k] for e in each]).item() for k in Drift.__dataclass_fields__}
        row: dict[str, Any] = worst  # np.max, for Python's max may pass over a nan
        limit = DRIFT_LIMIT.get(precision, math.inf)
        allowed = min(bundle.manifest.drift.get(precision, 1e-3), limit)
        out[precision] = row | {"allowed": allowed, "ok": row["belief_end"] <= allowed}
    return out


def _rows(found: dict[str, Any]) -> list[dict[str, Any]]:
    graphs = [g for r in found["parity"].values() if "absent" not in r for g in r.values()]
    return graphs + [d for d in found["drift"].values() if isinstance(d, dict)]


def _table(found: dict[str, Any]) -> str:
    lines = [f"{found['bundle']} {found['version']}, {found['precision']}: largest |difference| from the golden vectors"]  # fmt: skip
    lines.append(f"{'':20}" + "".join(f"{g:>11}" for g in GRAPHS))
    for name, graphs in found["parity"].items():
        if "absent" in graphs:
            lines.append(f"{name:20} not here: {graphs['absent']}")
            continue
        cells = "".join(f"{graphs[g]['max_abs']:>11.1e}" for g in GRAPHS)
        wrong = [g for g in GRAPHS if not graphs[g]["ok"]]
        lines.append(f"{name:20}{cells}" + (f"  NOT OK: {', '.join(wrong)}" if wrong else ""))
    for name, d in found["drift"].items():
        if not isinstance(d, dict) or "refused" in d:
            lines.append(f"drift: {d if isinstance(d, str) else d['refused']}")
            continue
        lines.append(
            f"{name} after {d['steps']} steps: belief {d['belief_end']:.1e} apart (allowed {d['allowed']:.1e}, largest "
            f"{d['belief_max']:.1e}), {d['classes_apart']:.1%} of classes, people {d['person_end_m']:.1e} m, "
            f"senses {d['senses_end']:.1e}{'' if d['ok'] else '  NOT OK'}"
        )
    return "\n".join(lines)
