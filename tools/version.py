"""`companion version`."""

from __future__ import annotations

import argparse
import json
import platform
from importlib import metadata

from firmware_bridge import protocol

PACKAGES = ("numpy", "onnxruntime", "onnxruntime-gpu", "tensorrt", "mujoco", "pyserial", "pyzmq", "opencv-python-headless", "foxglove-sdk", "torch")  # fmt: skip


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options."""
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def installed(name: str) -> str | None:
    """Version of a package, or None."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def main(args: argparse.Namespace) -> int:
    """Print versions."""
    found = {
        "companion": installed("companion-controller") or "source tree",
        "python": platform.python_version(),
        "protocol": f"{protocol.MAJOR}.{protocol.MINOR} schema {protocol.schema_crc():08x}",
        **{name: v for name in PACKAGES if (v := installed(name))},
    }
    if args.json:
        print(json.dumps(found))
    else:
        print("\n".join(f"{name:24} {value}" for name, value in found.items()))
    return 0
