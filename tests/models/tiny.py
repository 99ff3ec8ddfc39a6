"""A bundle of tiny random networks, and sequences that it can observe."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from onnx import load as load_onnx
from onnx import numpy_helper
from onnx import save as save_onnx

from models.bundle import Bundle, load_bundle
from models.export import write_bundle
from models.networks import Policy, WorldModel
from models.observations import Episode, Observations, smooth
from models.sizes import Sizes
from runtime.body import load_body
from tools.train.draft import draft
from tools.train.signing import development_key

LAYOUT = load_body("companion").layout()
SIZES = Sizes(
    action=LAYOUT.action_size, proprio=LAYOUT.proprio_size, skills=6,
    deter=16, groups=2, classes=4, normal=4, embed=16, hidden=16,
)  # fmt: skip
CANDIDATES = 4


def networks(seed: int = 0) -> tuple[WorldModel, Policy]:
    """Random networks, no two of whose tensors are alike."""
    torch.manual_seed(seed)
    world, policy = WorldModel(SIZES).eval(), Policy(SIZES).eval()
    with torch.no_grad():
        for parameter in [*world.parameters(), *policy.parameters()]:
            parameter += 0.02 * torch.randn_like(parameter)
    return world, policy


def write(
    folder: Path, world: WorldModel, policy: Policy, on_rate: torch.Tensor | None = None
) -> Bundle:
    """Export them and load what was written."""
    fields = draft(LAYOUT, "tiny", "1", "random numbers") | {
        "belief": SIZES.belief, "noise": SIZES.stoch, "groups": SIZES.groups,
        "classes": SIZES.classes, "candidates": CANDIDATES,
    }  # fmt: skip
    g = torch.Generator().manual_seed(3)
    classes = torch.nn.functional.one_hot(torch.randint(0, 4, (8, 2), generator=g), 4)
    beliefs = torch.cat(
        [
            torch.rand(8, SIZES.deter, generator=g),
            classes.flatten(1).float(),
            torch.randn(8, SIZES.normal, generator=g),
            torch.randn(8, SIZES.hues * SIZES.slot, generator=g),
        ],
        1,
    )
    rates = torch.linspace(0.1, 0.9, SIZES.hidden) if on_rate is None else on_rate
    write_bundle(folder, world, policy, rates, beliefs, fields, development_key())
    return load_bundle(folder, LAYOUT)


def altered(bundle: Bundle, folder: Path, graph: str, name: str, by: float) -> Bundle:
    """A copy with one weight of one graph changed, as nobody checks its hash here."""
    import shutil

    shutil.copytree(bundle.path, folder)
    file = folder / f"{graph}.onnx"
    model = load_onnx(str(file))
    tensor = next(t for t in model.graph.initializer if t.name == name)
    values = numpy_helper.to_array(tensor).copy()
    values.flat[0] += by
    tensor.CopyFrom(numpy_helper.from_array(values, name))
    save_onnx(model, str(file))
    return replace(bundle, path=folder)


def episodes(bundle: Bundle, count: int = 2, steps: int = 50) -> list[Episode]:
    """Made-up sequences with one person in view."""
    out = []
    for seed in range(count):
        observations: Observations = smooth(bundle.manifest, steps, seed)
        present = np.zeros((steps, SIZES.hues), np.float32)
        present[:, 0] = 1
        xy = np.random.default_rng(seed).normal(1, 0.3, (steps, SIZES.hues, 2)).astype(np.float32)
        out.append(Episode(observations, xy, present, present))
    return out
