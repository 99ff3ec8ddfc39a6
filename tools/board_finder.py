"""Which port is the board on? By udev name, by USB id, then by what answers there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from firmware_bridge.board import board_names, load_board
from firmware_bridge.errors import UpdateError
from firmware_bridge.serial_port import SerialTransport
from firmware_bridge.update import BoardInfo, UpdatePort

UDEV_NAME = Path("/dev/companion-mcu")
PROBE_S = 0.7


def candidates() -> list[str]:
    """Ports that may be a board: the udev name alone where it is there, else known USB bridges."""
    if UDEV_NAME.exists():
        return [str(UDEV_NAME)]
    from serial.tools import list_ports

    known = {usb for name in board_names() for usb in load_board(name).link.usb_ids}
    ports = [p for p in list_ports.comports() if p.vid is not None]
    return [p.device for p in ports if f"{p.vid:04x}:{p.pid:04x}" in known]


def find_board(port: str) -> tuple[str, BoardInfo]:
    """The port and what its board says; `port` empty: look for it. UpdateError when there is not one."""
    if port:
        SerialTransport(port).close()  # a missing or busy port is one sentence
        return port, _ask(port, 2.5)
    found = list(_answering(candidates()))
    if len(found) == 1:
        return found[0]
    if not found:
        raise UpdateError(
            "no board found: nothing of ours answers on /dev/companion-mcu or a known USB bridge "
            f"(looked at {', '.join(candidates()) or 'no port'}); plug it in, name it with --port, "
            "or for a blank or dead board use `companion flash --blank`"
        )
    names = ", ".join(f"{p} ({info.uid})" for p, info in found)
    raise UpdateError(f"{len(found)} boards answer: {names}; say which with --port")


def _answering(ports: list[str]) -> Iterator[tuple[str, BoardInfo]]:
    for port in ports:
        try:
            yield port, _ask(port, PROBE_S)
        except UpdateError:
            continue


def _ask(port: str, timeout_s: float) -> BoardInfo:
    with UpdatePort(port, timeout_s=timeout_s) as board:
        return board.info()
