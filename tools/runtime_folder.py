"""Where a run keeps its lock, its socket and its files; one owner per robot and per port."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
import time
from pathlib import Path
from types import TracebackType

from runtime.errors import ConfigError

ATTEMPTS = 50


def base_folder() -> Path:
    """`$XDG_RUNTIME_DIR/companion`, or a private folder under the temporary one."""
    root = os.environ.get("XDG_RUNTIME_DIR", "")
    if root and Path(root).is_dir() and os.access(root, os.W_OK):
        return Path(root) / "companion"
    return Path(tempfile.gettempdir()) / f"companion-{os.getuid()}"


def runs_folder() -> Path:
    """Where logs and reports of runs go by default (`--record` says otherwise)."""
    state = os.environ.get("XDG_STATE_HOME", "")
    return (Path(state) if state else Path.home() / ".local" / "state") / "companion" / "runs"


class RuntimeFolder:
    """A run's folder, locked while the run lives; removed at its end."""

    def __init__(self, name: str) -> None:
        base = base_folder()
        base.mkdir(mode=0o700, parents=True, exist_ok=True)
        _sweep(base)
        self.path = base / name
        for _ in range(ATTEMPTS):
            found = _lock(self.path)
            if found is not None:
                self._lock = found
                os.pwrite(self._lock, str(os.getpid()).encode(), 0)
                return
            time.sleep(0.01)  # another run is sweeping just now
        raise ConfigError(f"{self.path} cannot be locked; remove that folder")

    def __enter__(self) -> RuntimeFolder:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        shutil.rmtree(self.path, ignore_errors=True)
        os.close(self._lock)


def _lock(folder: Path) -> int | None:
    """The locked file of a run's folder; None: try again; ConfigError when a live run has it."""
    folder.mkdir(mode=0o700, exist_ok=True)
    try:
        fd = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except FileNotFoundError:
        return None  # swept away under our hands
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.fstat(fd).st_nlink:
            os.ftruncate(fd, 0)
            return fd
        os.close(fd)
    except BlockingIOError as error:
        owner = os.pread(fd, 32, 0).decode().strip()
        os.close(fd)
        if owner and Path(f"/proc/{owner}").exists():
            raise ConfigError(
                f"{folder.name} is already run by process {owner}; stop that run first (Ctrl-C in "
                "its terminal) or choose another robot or port"
            ) from error
    return None


def _sweep(base: Path) -> None:
    """Remove folders whose owner was killed: their lock is free."""
    for folder in base.iterdir():
        lock = folder / "lock"
        if not lock.is_file():
            continue
        fd = os.open(lock, os.O_RDWR | os.O_CLOEXEC)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            continue
        else:
            shutil.rmtree(folder, ignore_errors=True)
        finally:
            os.close(fd)
