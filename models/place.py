"""Where a bundle may be written: nothing but a bundle is ever replaced, and never by half of one."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from models.errors import ModelError


def check_place(folder: Path) -> None:
    """See that a bundle may be written as this folder: all that is in it will be replaced.

    Raises:
        ModelError: it is there and no bundle, or cannot be made.
    """
    if folder.is_dir():
        if any(folder.iterdir()) and not (folder / "manifest.toml").is_file():
            raise ModelError(
                f"{folder} holds other things than a bundle (it has no manifest.toml), and a bundle "
                "written there would replace them; name a new folder, or an old bundle"
            )
    elif folder.exists():
        raise ModelError(f"{folder} is a file, and a bundle is a folder; name a new folder")
    above = next(p for p in folder.resolve().parents if p.exists())
    if not above.is_dir() or not os.access(above, os.W_OK | os.X_OK):
        raise ModelError(
            f"{folder} cannot be made: {above} is no folder that you may write to; name another place"
        )


@contextmanager
def replacing(folder: Path) -> Iterator[Path]:
    """A hidden folder to fill, put in the place of `folder` once that is done; else it goes again.

    Raises:
        ModelError: `check_place`.
    """
    check_place(folder)
    folder = folder.resolve()  # a link stays one
    work = folder.with_name(f".{folder.name}.{os.getpid()}")
    before = folder.with_name(f"{work.name}.before")
    try:
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(parents=True)
        yield work
        if folder.exists():
            folder.rename(before)
        work.rename(folder)
    finally:
        if before.exists() and not folder.exists():
            before.rename(folder)
        shutil.rmtree(before, ignore_errors=True)
        shutil.rmtree(work, ignore_errors=True)
