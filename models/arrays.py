"""Reading .npz files: one that is cut, empty or something else is an error with its name."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from models.errors import ModelError

NO_NPZ = (
    OSError, ValueError, EOFError, TypeError, AttributeError, zipfile.BadZipFile, zlib.error,
)  # fmt: skip


def read_npz(file: Path, keys: Collection[str] | None = None) -> dict[str, npt.NDArray[Any]]:
    """The arrays of a file, or those of `keys` that it has.

    Raises:
        ModelError: it is no .npz, or a damaged one.
    """
    try:  # numpy leaves a file open that it opened itself and cannot read
        with file.open("rb") as stream, np.load(stream, allow_pickle=False) as data:
            return {k: data[k] for k in data.files if keys is None or k in keys}
    except NO_NPZ as error:
        raise ModelError(
            f"{file} is no .npz, or it was cut short ({error}); delete it and make it again"
        ) from error
