"""Channels in memfds made by the supervisor: inherited by children, handed out over a socket."""

from __future__ import annotations

import array
import contextlib
import json
import mmap
import os
import socket
from collections.abc import Iterator
from pathlib import Path

from runtime.channels import Channel, Channels, channel_bytes
from runtime.errors import ChannelError

HELLO_BYTES = 65536
MAX_FDS = 200


def create_memory(table: dict[str, Channel]) -> dict[str, int]:
    """One memfd per channel; nothing is left behind when the last process closes them."""
    fds = {}
    for name, row in table.items():
        fd = os.memfd_create(f"companion.{name}", os.MFD_CLOEXEC)
        os.ftruncate(fd, channel_bytes(row))
        fds[name] = fd
    return fds


def open_channels(table: dict[str, Channel], fds: dict[str, int]) -> Channels:
    """Map the memory of every channel."""
    memory = {name: mmap.mmap(fds[name], channel_bytes(row)) for name, row in table.items()}
    return Channels(table, memory)


@contextlib.contextmanager
def _reachable(path: Path) -> Iterator[str]:
    """A socket's address: the kernel takes 107 bytes, so a deep folder goes by its descriptor."""
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)


class ChannelServer:
    """Gives other programs (page, `why`) the channels of a run over a Unix socket."""

    def __init__(self, path: Path, fds: dict[str, int], about: dict[str, object]) -> None:
        self._fds = fds
        self._about = about
        path.unlink(missing_ok=True)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK)
        with _reachable(path) as address:
            self._socket.bind(address)
        self._socket.listen(4)

    def step(self) -> None:
        """Answer who is waiting; never blocks."""
        with contextlib.suppress(BlockingIOError):
            client, _ = self._socket.accept()
            with client, contextlib.suppress(OSError):
                hello = json.dumps({"channels": list(self._fds), **self._about}).encode()
                socket.send_fds(client, [hello], list(self._fds.values()))

    def close(self) -> None:
        """Stop answering."""
        self._socket.close()


def fetch_memory(path: Path) -> tuple[dict[str, int], dict[str, object]]:
    """File descriptors of a live run's channels, and what the run says of itself."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as client:
        client.settimeout(2.0)
        try:
            with _reachable(path) as address:
                client.connect(address)
            hello, fds, _, _ = socket.recv_fds(client, HELLO_BYTES, MAX_FDS)
        except OSError as error:
            raise ChannelError(
                f"no run answers at {path} ({error}); start one with `companion run`"
            ) from error
    about = json.loads(hello)
    names = about.pop("channels")
    return dict(zip(names, array.array("i", fds), strict=True)), about
