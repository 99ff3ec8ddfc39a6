"""A bundle is one directory, refused as a whole when any part does not match.

Order of the checks: there and whole -> manifest reads -> signature -> every file's sha256 ->
body and layout -> tensor shapes of the graphs (checked by the backend when it loads them).
"""

from __future__ import annotations

import hashlib
import math
import re
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from models.arrays import read_npz
from models.errors import BundleError
from models.layout import SKILLS, Layout
from models.manifest import GRAPHS, LayoutSpec, Manifest

BUNDLES = Path(__file__).parent / "bundles"
# The committed bundle is signed with this DEVELOPMENT key; `--target robot` refuses it
# unless robot.toml allows it.
DEVELOPMENT_KEY = BUNDLES / "DEVELOPMENT_KEY.pub"
NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")  # of a folder, too


@dataclass(frozen=True, slots=True)
class Bundle:
    """A checked bundle: safe to load graphs from."""

    path: Path
    manifest: Manifest
    sha256: str  # of manifest.toml, which holds the sha256 of every other file
    signed_by: str  # "development" or the trusted key's name

    def graph(self, name: str) -> Path:
        """Path of one graph file."""
        return self.path / self.manifest.graphs[name].file

    def golden(self) -> dict[str, npt.NDArray[np.float32]]:
        """Golden inputs and outputs, keyed `graph.in.tensor` and `graph.out.tensor`."""
        return read_npz(self.path / "golden.npz")


def layout_spec(layout: Layout) -> LayoutSpec:
    """What a manifest must say for a body's layout."""
    return LayoutSpec(
        actions=tuple(layout.describe()),
        proprio=layout.proprio_names,
        control_hz=layout.control_hz,
        frame_hz=layout.frame_hz,
        accel_scale_m_s2=layout.accel_scale_m_s2,
        gyro_scale_rad_s=layout.gyro_scale_rad_s,
    )


def find_bundle(name_or_path: str, folders: tuple[Path, ...] = (BUNDLES,)) -> Path:
    """A bundle directory by path or by name in `folders`; BundleError lists what exists."""
    if Path(name_or_path).is_dir():
        return Path(name_or_path)
    for folder in folders:
        if (folder / name_or_path).is_dir():
            return folder / name_or_path
    known = sorted(p.name for f in folders if f.is_dir() for p in f.iterdir() if p.is_dir())
    raise BundleError(
        f"no bundle {name_or_path}: found {', '.join(known) or 'none'}; "
        "give --bundle NAME or a directory with a manifest.toml"
    )


def load_bundle(path: Path, layout: Layout, trusted: dict[str, bytes] | None = None) -> Bundle:
    """Check a bundle directory against its own hashes and a body's layout.

    Args:
        path: the directory.
        layout: what the body sees and commands.
        trusted: public Ed25519 keys (32 bytes) by name, besides the development key.

    Raises:
        BundleError: with what was asked, what was found and what to do.
    """
    manifest_file = path / "manifest.toml"
    if not manifest_file.is_file():
        raise BundleError(
            f"{path} is no bundle: manifest.toml is missing; copy the whole directory"
        )
    raw = manifest_file.read_bytes()
    try:
        manifest = msgspec.toml.decode(raw, type=Manifest)
    except (msgspec.ValidationError, msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BundleError(
            f"{manifest_file}: {error}; the bundle is of another version or damaged, "
            "install it again"
        ) from error
    signer = _check_signature(path, raw, trusted or {})
    _check_files(path, manifest)
    _check_values(path, manifest)
    _check_layout(path, manifest, layout)
    return Bundle(path, manifest, hashlib.sha256(raw).hexdigest(), signer)


def _check_signature(path: Path, raw: bytes, trusted: dict[str, bytes]) -> str:
    signature = path / "manifest.sig"
    if not signature.is_file():
        raise BundleError(f"{path}: manifest.sig is missing; install the bundle again")
    keys = dict(trusted)
    if DEVELOPMENT_KEY.is_file():
        keys["development"] = bytes.fromhex(DEVELOPMENT_KEY.read_text().split()[0])
    for name, key in keys.items():
        try:
            Ed25519PublicKey.from_public_bytes(key).verify(signature.read_bytes(), raw)
        except InvalidSignature:
            continue
        return name
    raise BundleError(
        f"{path}: manifest.toml is not signed by a trusted key (tried {', '.join(keys) or 'none'}); "
        "it was changed after signing, or its key must be trusted first"
    )


def _check_files(path: Path, manifest: Manifest) -> None:
    missing_graphs = [g for g in GRAPHS if g not in manifest.graphs]
    if missing_graphs:
        raise BundleError(f"{path}: manifest names no graph {', '.join(missing_graphs)}")
    wanted = [g.file for g in manifest.graphs.values()] + ["golden.npz"]
    for name in sorted(set(wanted) | set(manifest.sha256)):
        file = path / name
        if not file.is_file():
            raise BundleError(f"{path}: {name} is missing; install the bundle again")
        found = hashlib.sha256(file.read_bytes()).hexdigest()
        asked = manifest.sha256.get(name, "no hash")
        if found != asked:
            raise BundleError(
                f"{path}: {name} has sha256 {found[:12]}, the manifest says {asked[:12]}; "
                "the file is cut or altered, install the bundle again"
            )


def _check_values(path: Path, manifest: Manifest) -> None:
    """What would drive, or never hold, without a word."""
    wrong = []
    if not NAME.fullmatch(manifest.name):
        wrong.append(f'name "{manifest.name}" (letters, digits, ., _ and -)')
    if list(manifest.skills) != [s for s in SKILLS if s in manifest.skills]:
        wrong.append(
            f"skills {list(manifest.skills)} (in the one-hot's order: {', '.join(SKILLS)})"
        )
    camera = manifest.camera
    if not (
        math.isfinite(camera.fx) and math.isfinite(camera.fy) and min(camera.fx, camera.fy) > 0
    ):
        wrong.append(f"camera.fx, fy {camera.fx}, {camera.fy} (px, above 0)")
    for channel, levels in manifest.surprise.items():
        if not (
            0 < levels.event < math.inf and math.isfinite(levels.typical) and levels.frames >= 1
        ):
            wrong.append(f"surprise.{channel} {levels} (a level above 0, for 1 frame or more)")
    if not 0 < manifest.groups * manifest.classes <= manifest.noise:
        wrong.append(f"noise {manifest.noise} (its groups and classes alone need more)")
    wrong += _sizes(manifest)
    if wrong:
        raise BundleError(f"{path}: {'; '.join(wrong)}; export the bundle again")


def _sizes(m: Manifest) -> list[str]:
    """Where the graphs' tensors contradict what the manifest says of them."""
    frame = (3, m.camera.height, m.camera.width)
    asked = {
        "belief": (m.belief,), "belief_out": (m.belief,), "noise": (m.noise,), "frame": frame,
        "frame_out": frame, "action": (len(m.layout.actions),),
        "proprio": (len(m.layout.proprio),),
    }  # fmt: skip
    return [
        f"{name} of {graph} {list(tensor.shape)} (elsewhere {list(shape)})"
        for graph, spec in m.graphs.items()
        for tensor in (*spec.inputs, *spec.outputs)
        if (name := tensor.name) in asked
        and tensor.shape != (shape := (m.candidates if graph == "imagine" else 1, *asked[name]))
    ]


def _check_layout(path: Path, manifest: Manifest, layout: Layout) -> None:
    if manifest.body != layout.body:
        raise BundleError(
            f"{path}: the bundle is for body {manifest.body}, this is body {layout.body}; "
            f"use a bundle trained for {layout.body}"
        )
    scale = manifest.policy_scale
    if len(scale) != layout.action_size or not all(0 < s <= 1 for s in scale):
        raise BundleError(
            f"{path}: policy_scale is {list(scale)}; it needs {layout.action_size} numbers above 0 "
            "and at most 1, one per action; export the bundle again"
        )
    asked, found = manifest.layout, layout_spec(layout)
    for field in LayoutSpec.__struct_fields__:
        if getattr(asked, field) != getattr(found, field):
            raise BundleError(
                f"{path}: layout {field} differs: the bundle has {getattr(asked, field)}, "
                f"the body has {getattr(found, field)}; retrain or use the matching body file"
            )
