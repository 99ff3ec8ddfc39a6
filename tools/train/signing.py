"""Signing bundles with the development key; needs no torch, for `model evaluate` writes metrics too."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import tomli_w
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from models.bundle import BUNDLES

DEVELOPMENT_KEY = BUNDLES / "DEVELOPMENT_KEY.pem"


def development_key() -> Ed25519PrivateKey:
    """The clearly marked development key: signs the committed bundle, refused on robots."""
    key = load_pem_private_key(DEVELOPMENT_KEY.read_bytes(), None)
    assert isinstance(key, Ed25519PrivateKey)
    return key


def resign(bundle: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Change a bundle's manifest (metrics, thresholds) and sign it again, all or nothing."""
    file = bundle / "manifest.toml"
    fields = msgspec.toml.decode(file.read_bytes())
    change(fields)
    raw = tomli_w.dumps(fields).encode()
    parts = {"manifest.sig": development_key().sign(raw), "manifest.toml": raw}
    try:
        for name, data in parts.items():
            (bundle / f".{name}").write_bytes(data)
        for name in parts:  # both are written by now: a full disk leaves the old pair
            (bundle / f".{name}").replace(bundle / name)
    finally:
        for name in parts:
            (bundle / f".{name}").unlink(missing_ok=True)
