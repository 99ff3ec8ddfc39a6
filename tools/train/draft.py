"""The manifest's fields before training: what a new bundle for a body will declare."""

from __future__ import annotations

from typing import Any

import msgspec

from firmware_bridge import protocol
from models.bundle import layout_spec
from models.layout import SKILLS, Layout
from models.manifest import CameraSpec, Manifest, Training
from models.sizes import Sizes
from tools.twin.scene import HUES

# About 70 degrees: people at 1.2 m fit, and 64 pixels still show a shirt at 2.5 m.
CAMERA = CameraSpec(width=64, height=64, fx=46.0, fy=46.0, cx=31.5, cy=31.5)
CANDIDATES = 64


def sizes_for(layout: Layout) -> Sizes:
    """Network sizes for a body's layout."""
    return Sizes(action=layout.action_size, proprio=layout.proprio_size, skills=len(SKILLS))


def draft(layout: Layout, name: str, version: str, trained_on: str) -> dict[str, Any]:
    """Manifest fields that do not depend on the trained numbers."""
    sizes = sizes_for(layout)
    return {
        "schema": 2,
        "name": name,
        "version": version,
        "body": layout.body,
        "protocol_major": protocol.MAJOR,
        "skills": SKILLS,
        "candidates": CANDIDATES,
        "belief": sizes.belief,
        "noise": sizes.stoch,
        "groups": sizes.groups,
        "classes": sizes.classes,
        "hues": dict(HUES),
        "trained_on": trained_on,
        "validated_on": ("twin",),
        "camera": CAMERA,
        "layout": layout_spec(layout),
        "policy_scale": (1.0,) * layout.action_size,
        "surprise": {},
        "drift": {},
        "training": Training(commit="", data_sha256="", duration_s=0.0, updates=0, seed=0),
        "metrics": {},
    }


def draft_manifest(layout: Layout) -> Manifest:
    """A manifest without graphs, for collecting before any bundle exists."""
    fields = draft(layout, "draft", "0", "nothing yet")
    return msgspec.convert(
        msgspec.to_builtins({**fields, "opset": 0, "ir_version": 0, "graphs": {}, "sha256": {}}),
        Manifest,
    )
