"""What the watch keeps on disk: its references and flags, one file beside a board's records.

Written whole or not at all, on the disk before its name is. A file that a power cut has emptied, or of
another schema, counts as none: the watch then learns anew. A calibration of the flag's tool installed
since settles it; any calibration installed since makes the watch learn its references anew.
"""

from __future__ import annotations

import glob
from pathlib import Path
from typing import Any

import msgspec

from calibration.errors import RecordError
from calibration.store import read_record, record_path, replace_file
from calibration.watch import GROSS, KINDS, Gauge

SCHEMA = 1


class Kept(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A gauge's reference: the mean of its first blocks, since when, of which device."""

    reference: float
    date: str  # ISO 8601, UTC: when it was learnt
    serial: str


class Standing(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A flag that stands until its tool's next calibration is installed."""

    name: str
    amount: float
    since: str  # ISO 8601, UTC
    serial: str
    said: str

    @property
    def tool(self) -> str:
        """What sets it right."""
        return KINDS[self.name].tool

    @property
    def gross(self) -> bool:
        """So far off that nothing should engage by it."""
        return abs(self.amount) >= GROSS * KINDS[self.name].raise_at


class Drift(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The file of one board."""

    schema: int = SCHEMA
    gauges: dict[str, Kept] = {}
    flags: tuple[Standing, ...] = ()


def drift_path(folder: Path, serial: str) -> Path:
    """Where a board's file stands."""
    return record_path(folder, serial, "watch")


def write_drift(folder: Path, serial: str, drift: Drift) -> None:
    """Put it in the file's place; OSError where the folder cannot be written."""
    replace_file(drift_path(folder, serial), msgspec.json.format(msgspec.json.encode(drift), indent=2) + b"\n")  # fmt: skip


def read_drift(folder: Path, serial: str) -> Drift:
    """What still holds of it: without all that a newer calibration has settled."""
    try:
        found = msgspec.json.decode(drift_path(folder, serial).read_bytes(), type=Drift)
    except (OSError, msgspec.DecodeError, msgspec.ValidationError, RecordError):
        return Drift()
    if found.schema != SCHEMA:
        return Drift()
    newest = {k.serial: _newest(folder, k.serial) for k in found.gauges.values()}
    last = max(
        newest.values(), default=""
    )  # one device's correction changes what the other is held against
    return Drift(
        gauges={n: k for n, k in found.gauges.items() if n in KINDS and k.date >= last},
        flags=tuple(f for f in found.flags if f.name in KINDS and not _settled(folder, f)),
    )


def standing(folder: Path) -> list[Standing]:
    """The flags of every board in a folder."""
    boards = sorted(p.name.removesuffix(".watch.json") for p in folder.glob("*.watch.json"))
    return [flag for serial in boards for flag in read_drift(folder, serial).flags]


def _newest(folder: Path, serial: str) -> str:
    """Date of a device's newest record of any kind; dates are in UTC, so their texts compare."""
    kinds = [p.name.removesuffix(".json").rpartition(".")[2] for p in folder.glob(f"{glob.escape(serial)}.*.json")]  # fmt: skip
    return max((_date(folder, serial, kind) for kind in kinds if kind != "watch"), default="")


def _settled(folder: Path, flag: Standing) -> bool:
    """Whether its tool was used on this device since."""
    return _date(folder, flag.serial, flag.tool) > flag.since


def _date(folder: Path, serial: str, kind: str) -> str:
    try:
        return read_record(folder, serial, kind).date
    except RecordError:
        return ""


def begin(gauges: dict[str, Gauge], drift: Drift) -> None:
    """Start the gauges from what was learnt before."""
    for name, kept in drift.gauges.items():
        gauges[name].reference = kept.reference


def kept_of(gauges: dict[str, Gauge], before: Drift, date: str, serials: dict[str, str]) -> dict[str, Any]:  # fmt: skip
    """The references to keep: those from before with their dates, new ones dated now."""
    out: dict[str, Any] = {}
    for name, gauge in gauges.items():
        if gauge.reference is None:
            continue
        old = before.gauges.get(name)
        same = old is not None and old.reference == gauge.reference
        out[name] = old if same else Kept(reference=gauge.reference, date=date, serial=serials[KINDS[name].device])  # fmt: skip
    return out
