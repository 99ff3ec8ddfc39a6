"""The work folder of a training: what it was begun with, and how long it took."""

from __future__ import annotations

import fcntl
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any

from models.errors import ModelError
from tools.played import code_sha
from tools.train.settings import TrainSettings

TRAINS = ("tools/train/*.py", "tools/evaluate/thresholds.py")  # beside what plays episodes
# These may change from call to call: they do not change what is learned.
FREE = ("name", "version", "work", "out", "pool", "threads")


@contextmanager
def alone(work: Path) -> Iterator[None]:
    """One training at a time in a work folder: two would clear away each other's files.

    Raises:
        ModelError: one runs in it now.
    """
    with (work / "lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ModelError(
                f"another training runs in {work} now; wait for it, or give another --work"
            ) from error
        yield


def stamp(settings: TrainSettings) -> None:
    """Note the code and the settings of a training, or see that they are those it began with.

    Episodes of other code may mean other things by an action; stages of other settings would make a
    bundle that says what it is not.

    Raises:
        ModelError: what is there was begun with others.
    """
    work = settings.work
    same_code(work)
    file, now = work / "settings.json", shaping(settings)
    if file.is_file():
        _same_settings(work, _read(file), now)
    _write(work / "code.sha256", code_sha(TRAINS))
    _write(file, json.dumps(now, indent=1))


def shaping(settings: TrainSettings) -> dict[str, Any]:
    """The settings that shape what is learned, as JSON has them."""
    named = {f.name: getattr(settings, f.name) for f in fields(settings) if f.name not in FREE}
    out: dict[str, Any] = json.loads(json.dumps(named))
    return out


def same_code(work: Path) -> None:
    """See that what is in a work folder was begun with this code.

    Raises:
        ModelError: with another.
    """
    file, now = work / "code.sha256", code_sha(TRAINS)
    began = file.read_text() if file.is_file() else ""
    noted = (work / "settings.json").is_file()
    if (began != now or not noted) and (began not in ("", now) or (work / "expert").is_dir()):
        raise ModelError(
            f"{work} was begun with other code than this: its episodes and networks may mean other "
            "things; give another --work, or go on with the version that began it"
            + (f", or, if you know that they mean the same, write {now} into {file}" * noted)
        )


def _same_settings(work: Path, began: dict[str, Any], now: dict[str, Any]) -> None:
    other = [
        f"--{name.replace('_', '-')} was {_text(began.get(name))} and is now {_text(value)}"
        for name, value in now.items()
        if began.get(name) != value
    ]
    if other:
        raise ModelError(
            f"{work} was begun with other settings: {'; '.join(other)}; "
            "give those that it began with, or another --work"
        )


def _text(value: Any) -> str:
    if value is None:
        return "not noted"
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)


def _read(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(file.read_text())
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise ModelError(
            f"{file} cannot be read, so nobody knows what this training began with; "
            "give another --work"
        )
    return found


def _write(file: Path, text: str) -> None:
    work = file.with_name(f"{file.name}.part")
    try:
        work.write_text(text)
        work.replace(file)
    finally:
        work.unlink(missing_ok=True)


class Stopwatch:
    """Seconds a training took in all, over its interruptions: kept whenever it says something."""

    def __init__(self, file: Path, say: Callable[[str], None]) -> None:
        """Go on from what the file says.

        Raises:
            ModelError: it says no time.
        """
        self._file, self._say, self._began = file, say, time.monotonic()
        try:
            self._before = float(file.read_text()) if file.is_file() else 0.0
        except ValueError as error:
            raise ModelError(
                f"{file} holds no number of seconds; write there how long the training took so far"
            ) from error

    def say(self, text: str) -> None:
        """Pass on, and keep the time."""
        self._say(text)
        _write(self._file, f"{self._before + time.monotonic() - self._began:.0f}")
