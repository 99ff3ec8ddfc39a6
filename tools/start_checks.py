"""What is looked at before a run starts anything: folders, disk, camera, port, page.

Each error is one sentence with what to do; nothing was opened or written when it comes.
"""

from __future__ import annotations

import os
import shutil
import socket
from dataclasses import replace
from pathlib import Path

from firmware_bridge.errors import FirmwareMismatch, LinkError
from firmware_bridge.link import Link
from firmware_bridge.probe import probe
from firmware_bridge.serial_port import SerialTransport
from runtime.clock import now_ns
from runtime.errors import ConfigError
from tools.compose import RunSettings, Setup

MIN_FREE_MB = 200  # below this the mind refuses to engage
PROBE_S = 3.0


def check_writable(folder: Path, option: str) -> None:
    """The folder can be made and written, and its disk has room."""
    there = folder
    while not there.exists() and there != there.parent:
        there = there.parent
    if not there.is_dir():
        raise ConfigError(f"{option}: {there} is no folder; give another path")
    if not os.access(there, os.W_OK | os.X_OK):
        raise ConfigError(
            f"{option}: no permission to write in {there}; give a folder that is yours"
        )
    free_mb = shutil.disk_usage(there).free / 1e6
    if free_mb < MIN_FREE_MB:
        raise ConfigError(
            f"{option}: only {free_mb:.0f} MB are free in {there}, a run wants {MIN_FREE_MB}; "
            "delete old logs or give a folder on another disk"
        )


def make_folder(folder: Path) -> list[Path]:
    """Make the run's folder; the folders that were not there before, deepest first."""
    made = [p for p in (folder, *folder.parents) if not p.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            f"--record: {folder} cannot be made ({error.strerror}); give a folder that is yours"
        ) from error
    return made


def check_camera(settings: RunSettings) -> None:
    """The named camera could be there; whether it opens, perception finds out."""
    if settings.camera != "twin" and not Path(settings.camera).is_file():
        check_device(settings.camera)


def check_device(camera: str) -> None:
    """A device, or a GStreamer pipeline; ConfigError where there is no such device."""
    if "!" in camera:
        return
    device = Path(f"/dev/video{camera}" if camera.isdigit() else camera)
    if device.is_char_device():
        return
    found = ", ".join(sorted(str(p) for p in Path("/dev").glob("video*"))) or "no /dev/video*"
    raise ConfigError(
        f"no camera or video {device}: found {found}; plug it in, give the path of a video file, "
        "or use --camera twin"
    )


def check_port(setup: Setup) -> str:
    """An MCU of ours answers at the port: its uid; LinkError where none does."""
    port = setup.settings.firmware
    transport = SerialTransport(port)
    try:
        return probe(Link(transport, setup.body.limit_table()), PROBE_S, now_ns).uid
    except FirmwareMismatch as error:
        transport.close()
        if not _offer_flash(setup, port, str(error)):
            raise LinkError(f"port {port}: {error}") from error
        return ""
    except LinkError as error:
        raise LinkError(f"port {port}: {error}") from error
    finally:
        transport.close()


def _offer_flash(setup: Setup, port: str, reason: str) -> bool:
    """At a terminal, ask whether the firmware that matches shall be flashed now."""
    try:
        from tools.flash import offer
    except ModuleNotFoundError:  # the extra `firmware` is not installed: the sentence is enough
        return False
    return offer(setup.body.limit_table(), port, reason)


def check(setup: Setup) -> Setup:
    """All that can be looked at without starting anything; what was learnt of the board is added."""
    settings = setup.settings
    check_camera(settings)
    check_writable(setup.folder, "--record" if settings.record else "the folder of logs")
    if settings.report:
        if settings.report.is_dir():
            raise ConfigError(f"--report: {settings.report} is a folder; give a file name")
        check_writable(settings.report.parent, "--report")
    if not setup.is_twin and setup.has_body:
        return replace(setup, mcu=check_port(setup))
    return setup


def listen(port: int) -> socket.socket:
    """The page's socket on loopback: opened here, so that a busy port is one clear sentence."""
    s = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        s.bind(("127.0.0.1", port))
        s.listen(16)
    except OSError as error:
        s.close()
        raise ConfigError(
            f"port {port} of the page is not free ({error.strerror}); give --page-port another "
            "number, or none for a free one"
        ) from error
    return s
