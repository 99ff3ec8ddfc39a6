"""A board's passport: who it is and all that was done to it. One JSON file per uid, and a label.

It lies in `/var/lib/companion/passports` on a robot, else under the user's data folder, and is only
ever appended to: entries are added under a lock and the file is replaced whole.
"""

from __future__ import annotations

import contextlib
import fcntl
import getpass
import hashlib
import os
import re
import time
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import msgspec

from runtime.errors import RuntimeFault
from tools.passport_label import label


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that was done: `result` in a word, `facts` in numbers and names."""

    kind: str  # flash | blank | bringup
    date: str  # UTC, ISO 8601
    operator: str
    tool: str
    result: str
    facts: dict[str, Any]


class Passport(msgspec.Struct, frozen=True, kw_only=True):
    """A board and its entries, oldest first."""

    schema: int
    uid: str
    hardware: str
    entries: tuple[Entry, ...] = ()

    def newest(self, kind: str) -> Entry | None:
        """The last entry of a kind."""
        return next((e for e in reversed(self.entries) if e.kind == kind), None)

    def firmware(self) -> Entry | None:
        """The last entry that left an image on the board."""
        done = (e for e in reversed(self.entries) if e.kind in ("flash", "blank"))
        return next((e for e in done if e.result in ("confirmed", "written")), None)


def passports_folder() -> Path:
    """Where passports lie."""
    system = Path("/var/lib/companion/passports")
    if system.is_dir() and os.access(system, os.W_OK):
        return system
    data = os.environ.get("XDG_DATA_HOME", "")
    root = Path(data) if data else Path.home() / ".local" / "share"
    return root / "companion" / "passports"


def operator_name(asked: str = "") -> str:
    """Who does it: as asked, else the login name."""
    if asked:
        return asked
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # an account without a name
        return f"uid {os.getuid()}"


def passport_path(uid: str) -> Path:
    """The file of a board; a uid that is no file name is spelt in hex, or by its hash."""
    plain = uid if re.fullmatch(r"[A-Za-z0-9._-]{1,64}", uid) else uid.encode().hex()
    plain = plain if len(plain) <= 128 else hashlib.sha256(uid.encode()).hexdigest()
    return passports_folder() / f"{plain}.json"


def read_passport(uid: str) -> Passport | None:
    """The passport of a board; RuntimeFault when its file cannot be read as one."""
    path = passport_path(uid)
    try:
        return msgspec.json.decode(path.read_bytes(), type=Passport)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise RuntimeFault(f"passport {path}: cannot be read ({error.strerror})") from error
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        raise RuntimeFault(
            f"passport {path}: {error}; move it away to begin a new one, nothing was changed"
        ) from error


def check(uid: str) -> None:
    """RuntimeFault where an entry could not be added: better before the work than after it."""
    with _locked(passport_path(uid)):
        read_passport(uid)


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """The folder is there and ours; RuntimeFault says why it cannot be."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = (path.parent / ".lock").open("w")
    except OSError as error:
        raise RuntimeFault(
            f"passport {path}: cannot be written ({error.strerror}); make its folder writable, or "
            "name another data folder in XDG_DATA_HOME"
        ) from error
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def append(
    uid: str, hardware: str, kind: str, result: str, facts: dict[str, Any], operator: str = ""
) -> Path:
    """Add an entry and print a new label; the passport's path."""
    path = passport_path(uid)
    entry = Entry(
        kind=kind, date=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        operator=operator_name(operator),
        tool=f"companion {metadata.version('companion-controller')}", result=result, facts=facts,
    )  # fmt: skip
    with _locked(path):
        old = read_passport(uid) or Passport(schema=1, uid=uid, hardware="unknown")
        new = Passport(
            schema=1, uid=uid, hardware=hardware or old.hardware, entries=(*old.entries, entry)
        )
        _replace(path, msgspec.json.format(msgspec.json.encode(new), indent=2), entry)
        _replace(path.with_suffix(".html"), label(new).encode(), entry)
    return path


def _replace(path: Path, data: bytes, entry: Entry) -> None:
    part = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with part.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise RuntimeFault(
            f"passport {path}: cannot be written ({error.strerror}), it is as it was; what was done "
            f"to the board stays done: {entry.kind} {entry.result}"
        ) from error
