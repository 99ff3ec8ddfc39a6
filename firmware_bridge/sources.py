"""Library sources that stand in firmware images: pinned, hash-checked, fetched by pip at build time."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import msgspec

from firmware_bridge.build import SOURCES, LibrarySource, build_root, scratch_folder
from firmware_bridge.errors import BuildError

FETCH_TIMEOUT_S = 300


class Pinned(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One section of sources.toml."""

    package: str
    version: str
    kind: str
    sha256: str
    root: str
    include: tuple[str, ...]
    files: tuple[str, ...]
    defines: tuple[str, ...]


def library_source(name: str) -> LibrarySource:
    """The library's files, fetched once; BuildError where they cannot be had or are not the pinned ones."""
    pinned = msgspec.toml.decode((SOURCES / "sources.toml").read_bytes(), type=dict[str, Pinned])[
        name
    ]
    place = build_root().parent / "sources" / f"{name}-{pinned.sha256[:16]}"
    if not place.is_dir():
        _fetch(name, pinned, place)
    root = place / pinned.root
    return LibrarySource(
        tuple(root / file for file in pinned.files),
        (
            *(f"-I{root / folder}" for folder in pinned.include),
            *(f"-D{define}" for define in pinned.defines),
        ),
    )


def _fetch(name: str, pinned: Pinned, place: Path) -> None:
    """Download, check, unpack beside `place` and rename: half a library is never found there."""
    with scratch_folder(place) as scratch:
        package = _download(name, pinned, Path(scratch))
        found = hashlib.sha256(package.read_bytes()).hexdigest()
        if found != pinned.sha256:
            raise BuildError(
                f"source of {name}: {package.name} has SHA-256 {found[:16]}..., pinned is "
                f"{pinned.sha256[:16]}...; it is not used. Check the package index"
            )
        out = Path(scratch) / "out"
        _unpack(package, pinned.root, out)
        try:
            out.rename(place)
        except OSError:  # another builder was first
            if not place.is_dir():
                raise


def _download(name: str, pinned: Pinned, folder: Path) -> Path:
    form = ["--no-binary", pinned.package] if pinned.kind == "sdist" else ["--only-binary", ":all:"]
    command = [
        sys.executable, "-m", "pip", "download", "--quiet", "--no-deps",
        "--disable-pip-version-check", *form, "--dest", str(folder / "got"),
        f"{pinned.package}=={pinned.version}",
    ]  # fmt: skip
    try:
        result = subprocess.run(
            command, capture_output=True, text=True, timeout=FETCH_TIMEOUT_S, cwd=folder
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BuildError(f"source of {name}: pip did not come to an end ({error})") from error
    packages = sorted((folder / "got").glob("*")) if (folder / "got").is_dir() else []
    if result.returncode or len(packages) != 1:
        said = (result.stderr.strip().splitlines() or ["no word"])[-1]
        raise BuildError(
            f"source of {name}: {pinned.package} {pinned.version} cannot be fetched ({said}); "
            "connect this machine to its package index once, the copy is kept"
        )
    return packages[0]


def _unpack(package: Path, root: str, out: Path) -> None:
    """Only what lies under `root`."""
    whole = out.with_name("whole")
    if package.suffix == ".whl":
        with zipfile.ZipFile(package) as wheel:
            wheel.extractall(whole, [m for m in wheel.namelist() if m.startswith(f"{root}/")])
    else:
        with tarfile.open(package) as archive:
            members = [m for m in archive if m.name.startswith(f"{root}/") and m.isfile()]
            archive.extractall(whole, members, filter="data")
    (out / root).parent.mkdir(parents=True, exist_ok=True)
    shutil.move(whole / root, out / root)
