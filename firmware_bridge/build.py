"""Builds the C of this package: with `cc`, or with the ziglang wheel where there is no compiler.

Results stand in `build/native/<key>/`, keyed by sources, generated headers and command, and are
renamed into place whole, so that two builders at once do no harm.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from firmware_bridge.errors import BuildError

SOURCES = Path(__file__).parent / "firmware"
FLAGS = ("-std=c11", "-O2", "-Wall", "-Wextra", "-Werror", "-ffp-contract=off", "-fno-math-errno")


@dataclass(frozen=True, slots=True)
class LibrarySource:
    """A library on disk (`sources.py`): what to compile, with which flags; its warnings are its own."""

    files: tuple[Path, ...]
    flags: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Target:
    """One binary: its file name, C files, flags, generated headers by file name, libraries.

    `commands` are the compilers to try, this machine's by default; `last` ends the command line, its
    @FOLDER@ is where the headers stand.
    """

    name: str
    sources: tuple[str, ...]
    flags: tuple[str, ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict)
    libraries: tuple[LibrarySource, ...] = ()
    commands: tuple[tuple[str, ...], ...] = ()
    last: tuple[str, ...] = ()


def compilers() -> list[list[str]]:
    """Commands to try in order; COMPANION_CC (`zig`, or a command line) leaves only that one."""
    zig = [sys.executable, "-m", "ziglang", "cc", "-mcpu=baseline"]
    asked = os.environ.get("COMPANION_CC")
    if asked:
        return [zig] if asked == "zig" else [shlex.split(asked)]
    found = [["cc"]] if shutil.which("cc") else []
    return [*found, zig] if importlib.util.find_spec("ziglang") else found


def build_root() -> Path:
    """`build/native` of a checkout, or the user's cache where that cannot be written."""
    checkout = Path(__file__).parents[1]
    if (checkout / "pyproject.toml").is_file() and os.access(checkout, os.W_OK):
        return checkout / "build" / "native"
    cache = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(cache) / "companion" / "native"


@contextlib.contextmanager
def scratch_folder(place: Path) -> Iterator[str]:
    """A folder beside `place` to work in; BuildError where nothing can be written there."""
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        scratch = tempfile.TemporaryDirectory(prefix=f"{place.name}.", dir=place.parent)
    except OSError as error:
        raise BuildError(
            f"build folder {place.parent}: cannot be written ({error.strerror}); make it writable"
            ", or name another cache folder in XDG_CACHE_HOME"
        ) from error
    with scratch as name:
        yield name


def build(target: Target) -> Path:
    """Path of the built target; compiles only what no earlier build left behind."""
    commands = [list(c) for c in target.commands] or compilers()
    if not commands:
        raise BuildError(
            f"cannot build {target.name}: found neither `cc` nor the ziglang wheel; "
            "install one: `pip install ziglang`"
        )
    complaints = []
    for command in commands:
        place = build_root() / _key(target, command)
        if (place / target.name).is_file():
            return place / target.name
        complaint = _compile(target, command, place)
        if complaint is None:
            return place / target.name
        if re.search("no ?space ?left", complaint, re.IGNORECASE):
            raise BuildError(f"cannot build {target.name}: the disk of {place.parent} is full")
        complaints.append(f"`{shlex.join(command)}` said:\n{complaint.strip()[-2000:]}")
    raise BuildError(f"cannot build {target.name}; " + "\n".join(complaints))


def _key(target: Target, command: list[str]) -> str:
    digest = hashlib.sha256()
    for path in sorted(SOURCES.rglob("*.[ch]")):
        digest.update(str(path.relative_to(SOURCES)).encode() + b"\0" + path.read_bytes())
    for name in sorted(target.headers):
        digest.update(name.encode() + b"\0" + target.headers[name].encode())
    digest.update(repr([(source.files, source.flags) for source in target.libraries]).encode())
    host = (platform.system(), platform.machine(), FLAGS, command)
    digest.update(repr((target.name, target.sources, target.flags, target.last, host)).encode())
    return digest.hexdigest()[:16]


def _run(command: list[str], folder: str) -> str | None:
    """The compiler's words when it fails."""
    try:
        result = subprocess.run(command, capture_output=True, text=True, cwd=folder, timeout=300)
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    return (result.stderr or f"exit code {result.returncode}") if result.returncode else None


def _compile(target: Target, command: list[str], place: Path) -> str | None:
    """Compile into a folder beside `place` and rename it there; the compiler's words on failure."""
    with scratch_folder(place) as scratch:
        folder = Path(scratch) / "out"
        folder.mkdir()
        for name, text in target.headers.items():
            (folder / name).write_text(text)
        # quoted only: our limits.h must not stand for the compiler's <limits.h> in a library
        include = ["-iquote", str(folder), "-iquote", str(SOURCES)]
        include += [flag for library in target.libraries for flag in library.flags]
        objects: list[str] = []
        for library in target.libraries:
            quiet = [*command, *FLAGS, "-w", *target.flags, *library.flags, "-c"]
            for file in library.files:
                objects.append(f"{scratch}/{len(objects)}.o")
                complaint = _run([*quiet, str(file), "-o", objects[-1]], scratch)
                if complaint is not None:
                    return complaint
        files = [str(SOURCES / name) for name in target.sources]
        last = [word.replace("@FOLDER@", str(folder)) for word in target.last]
        output = ["-o", str(folder / target.name), *last]
        complaint = _run(
            [*command, *FLAGS, *target.flags, *include, *files, *objects, *output], scratch
        )
        if complaint is not None:
            return complaint
        try:
            folder.rename(place)
        except OSError:  # another builder was first: the key says that its result is the same
            if not (place / target.name).is_file():
                raise
    return None
