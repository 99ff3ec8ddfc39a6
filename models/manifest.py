"""manifest.toml: what a bundle is, strictly parsed. Unknown or missing keys are refused by name."""

from __future__ import annotations

from typing import Literal

import msgspec

GRAPHS = ("observe", "imagine", "decode", "policy")
PRECISIONS = ("fp32", "fp16", "int8")
DRIFT_LIMIT = {"fp16": 0.02, "int8": 0.06}  # beyond it a copy believes other things than fp32


class Strict(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Base of every section."""


class TensorSpec(Strict, frozen=True):
    """Name and static shape of one float32 tensor."""

    name: str
    shape: tuple[int, ...]


class GraphSpec(Strict, frozen=True):
    """One graph file: its tensors and, per precision, the largest golden error allowed."""

    file: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    tolerance: dict[str, float]


class CameraSpec(Strict, frozen=True):
    """The virtual pinhole camera [px] every device's camera is remapped to."""

    width: int
    height: int
    fx: float
    fy: float
    cx: float
    cy: float


class LayoutSpec(Strict, frozen=True):
    """The policy layout the graphs were trained for; must equal the body's."""

    actions: tuple[str, ...]
    proprio: tuple[str, ...]
    control_hz: int
    frame_hz: int
    accel_scale_m_s2: float
    gyro_scale_rad_s: float


class Threshold(Strict, frozen=True):
    """Levels of one surprise channel, set on data: above `event` for `frames` in a row is an event."""

    typical: float
    event: float
    frames: int


class Training(Strict, frozen=True):
    """Where a bundle comes from."""

    commit: str
    data_sha256: str
    duration_s: float
    updates: int
    seed: int


class Manifest(Strict, frozen=True):
    """The whole bundle."""

    schema: Literal[2]
    name: str
    version: str
    body: str
    protocol_major: int
    opset: int
    ir_version: int
    skills: tuple[str, ...]
    candidates: int
    belief: int
    noise: int  # length: Gumbel for `groups` x `classes`, then normal
    groups: int
    classes: int
    hues: dict[str, float]  # of the people in `person` outputs, in order; hue 0..1
    trained_on: str
    validated_on: tuple[str, ...]
    camera: CameraSpec
    layout: LayoutSpec
    # Share of each joint's full speed that the policy's 1 means: one that learned on a slower joint
    # keeps its meaning.
    policy_scale: tuple[float, ...]
    graphs: dict[str, GraphSpec]
    surprise: dict[str, Threshold]
    drift: dict[str, float]  # per precision: belief after 200 closed-loop steps, mean |difference|
    training: Training
    metrics: dict[str, float]
    sha256: dict[str, str]
    precision: Literal["fp32", "fp16", "int8"] = "fp32"  # what its graphs compute in
