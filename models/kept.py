"""Files that a training keeps: written whole or not at all; one that is cut is told with its name."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from models.arrays import NO_NPZ
from models.errors import ModelError

CUT = (*NO_NPZ, KeyError, RuntimeError, pickle.UnpicklingError)


@contextmanager
def reading(file: Path) -> Iterator[None]:
    """Around the reading of a file that a stage left.

    Raises:
        ModelError: it is cut, or not what the stage writes.
    """
    try:
        yield
    except CUT as error:
        raise ModelError(
            f"{file} is cut or no file of a training ({type(error).__name__}); "
            "delete it, that stage is done again"
        ) from error


def save(state: Any, file: Path) -> None:
    """Write beside its place and rename it there.

    Raises:
        ModelError: it cannot be written.
    """
    work = file.with_suffix(".part")
    try:
        torch.save(state, work)
        work.replace(file)
    except (OSError, RuntimeError) as error:  # torch says RuntimeError of a full disk
        raise ModelError(
            f"{file} cannot be written: {str(error).splitlines()[0]}; is the disk full? Make room, "
            "and give the same command again"
        ) from error
    finally:
        work.unlink(missing_ok=True)


def load(file: Path) -> Any:
    """What `save` wrote.

    Raises:
        ModelError: the file is cut.
    """
    with reading(file):
        return torch.load(file, weights_only=True)


def fill(file: Path, module: nn.Module, state: Any) -> None:
    """Put weights that came from a file into a network.

    Raises:
        ModelError: they are those of another network.
    """
    try:
        module.load_state_dict(state)
    except (RuntimeError, TypeError, AttributeError) as error:
        raise ModelError(
            f"{file} holds networks of another version than this one trains; "
            "give another --work, or go on with the version that began it"
        ) from error
