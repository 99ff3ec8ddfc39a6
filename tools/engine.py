"""`companion engine build`: TensorRT engines for this GPU, never built anywhere else."""

from __future__ import annotations

import argparse

from models.backend_tensorrt import build_engine, import_cuda, import_tensorrt
from models.bundle import find_bundle, load_bundle
from models.manifest import GRAPHS
from runtime.body import load_body
from tools.compose import DEFAULT_BUNDLE, engines_folder


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options."""
    parser.add_argument("--bundle", default=DEFAULT_BUNDLE)
    parser.add_argument("--body", default="companion")


def main(args: argparse.Namespace) -> int:
    """Build every graph but the policy, which runs on the CPU."""
    bundle = load_bundle(find_bundle(args.bundle), load_body(args.body).layout())
    import_tensorrt()
    import_cuda()
    for graph in GRAPHS:
        if graph != "policy":
            build_engine(bundle, graph, engines_folder(), print)
    return 0
