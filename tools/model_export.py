"""`companion model export`: a copy of a bundle in fp16 or int8."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import msgspec

from models.bundle import BUNDLES, find_bundle, load_bundle
from models.manifest import DRIFT_LIMIT
from models.observations import load
from runtime.body import load_body
from runtime.errors import ConfigError
from tools.arguments import count
from tools.compose import DEFAULT_BUNDLE

ABOUT = """
What it does
  fp16  Gemm, Conv and ConvTranspose compute and store in fp16; inputs, outputs, normalisations,
        softmax, log, the divergence, sampling, the last layers before them, and where the decoder
        looks stay fp32. Half the size; for TensorRT and CUDA, a CPU gains no speed by it.
  int8  the same products between QDQ pairs (static, symmetric, weights per channel), ranges taken
        from observations. A third of the size.
  opset and IR version stay, no control flow is added. The new bundle has its own golden vectors
  (fp32 outputs), its own tolerances (fp16 10, int8 4 times what ONNX Runtime's CPU measured) and drift
  (twice; over made-up sequences and the first two recorded ones, which of three or more give no
  ranges), the version of the old one with
  "-fp16" or "-int8" at its end, and the development key's signature.

Ranges of int8 come from --calibration DIR (observations, or episodes of a training: .npz), or are
  recorded with --seeds N on the twin, or else from made-up sequences, which is good for trying only.

JSON keys: bundle, version, precision, path, bytes, bytes_fp32, tolerance{graph}, drift, drift_limit, ok

Exit codes: 0 written, 1 refused, 2 wrong use, 3 written, but its beliefs drift further than is good:
do not drive with it.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `model export`."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = ABOUT
    add = parser.add_argument
    add("--bundle", default=DEFAULT_BUNDLE, help="an fp32 bundle: name or directory")
    add("--precision", required=True, choices=tuple(DRIFT_LIMIT))
    add("--out", type=Path, required=True, metavar="DIR", help="directory of the new bundle")
    add(
        "--calibration", type=Path, default=None, metavar="DIR", help="recorded observations (.npz)"
    )
    add("--seeds", type=count, default=0, metavar="N", help="record N episodes of 20 s on the twin")
    add("--json", action="store_true", help="print one JSON object")


def main(args: argparse.Namespace) -> int:
    """Write the variant and say what it costs."""
    from models.variant import write_variant
    from tools.train.signing import development_key

    if args.calibration and args.seeds:
        raise ConfigError("--calibration and --seeds are two sources of the same; give one")
    layout = load_body("companion").layout()
    bundle = load_bundle(find_bundle(args.bundle), layout)
    if not args.out.resolve().parent.is_dir():
        raise ConfigError(f"--out {args.out}: there is no folder {args.out.parent}; make it first")
    if args.out.exists() and (BUNDLES in args.out.resolve().parents or not _is_variant(args.out)):
        raise ConfigError(
            f"--out {args.out} is there and would be replaced, and it is no fp16 or int8 copy; "
            "give another directory"
        )
    recorded = load(args.calibration, bundle.manifest) if args.calibration else []
    if args.seeds:
        from tools.observe import record

        recorded = [e.observations for e in record(str(bundle.path), args.seeds)]
    made = write_variant(bundle, args.precision, args.out, recorded, development_key())
    m = load_bundle(made.path, layout).manifest
    drift = m.drift[args.precision]
    found: dict[str, Any] = {
        "bundle": m.name, "version": m.version, "precision": m.precision, "path": str(made.path),
        "bytes": _bytes(made.path), "bytes_fp32": _bytes(bundle.path),
        "tolerance": {g: s.tolerance[m.precision] for g, s in m.graphs.items()},
        "drift": drift, "drift_limit": DRIFT_LIMIT[args.precision], "ok": drift <= DRIFT_LIMIT[args.precision],
    }  # fmt: skip
    if args.json:
        print(json.dumps(found))
    else:
        size = f"{found['bytes'] / 1e6:.1f} of {found['bytes_fp32'] / 1e6:.1f} MB"
        print(f"{made.path}: {m.name} {m.version}, {size}, belief drifts by up to {drift:g}")
        if not found["ok"]:
            print(
                f"more than {DRIFT_LIMIT[args.precision]:g}: it believes other things than fp32 does"
            )
    return 0 if found["ok"] else 3


def _is_variant(path: Path) -> bool:
    """Whether it is a copy in reduced precision, which can be made again; an fp32 bundle cannot."""
    try:
        fields = msgspec.toml.decode((path / "manifest.toml").read_bytes())
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        return False
    return isinstance(fields, dict) and fields.get("precision") in DRIFT_LIMIT


def _bytes(path: Path) -> int:
    return sum(f.stat().st_size for f in path.glob("*.onnx"))
