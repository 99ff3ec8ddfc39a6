"""`companion doctor`: what is installed, plugged in and allowed here, and what to do about the rest."""

from __future__ import annotations

import argparse
import importlib
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from firmware_bridge.arm_build import arm_compilers
from firmware_bridge.build import compilers
from models.backends import loaders
from models.bundle import find_bundle, load_bundle
from models.errors import ModelError
from runtime.body import load_body
from runtime.process import try_fifo
from tools.calibrate.install import installed
from tools.compose import DEFAULT_BUNDLE, calibration_folder, engines_folder
from tools.runtime_folder import base_folder, runs_folder


@dataclass(frozen=True, slots=True)
class Finding:
    """One line: what was looked at, whether it is well, what was found, what to do."""

    name: str
    ok: bool
    needed: bool
    found: str
    do: str = ""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options."""
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def main(args: argparse.Namespace) -> int:
    """Exit 0 when everything a twin run needs is there, else 1."""
    findings = [f for check in CHECKS for f in check()]
    broken = [f for f in findings if f.needed and not f.ok]
    if args.json:
        rows = [
            {"name": f.name, "ok": f.ok, "needed": f.needed, "found": f.found, "do": f.do}
            for f in findings
        ]
        print(json.dumps({"ok": not broken, "findings": rows}))
    else:
        for f in findings:
            mark = "ok  " if f.ok else ("MISS" if f.needed else "none")
            print(
                f"{mark} {f.name:22} {f.found}"
                + (f"\n     {'':22} -> {f.do}" if f.do and not f.ok else "")
            )
    return 1 if broken else 0


def _package(name: str, module: str, needed: bool, do: str) -> Finding:
    try:
        found = importlib.import_module(module)
    except Exception as error:  # noqa: BLE001  (a broken install raises anything; doctor must say it)
        return Finding(name, False, needed, f"{type(error).__name__}: {error}"[:110], do)
    return Finding(name, True, needed, str(getattr(found, "__version__", "installed")))


def check_python() -> Iterator[Finding]:
    """Interpreter and packages."""
    yield Finding(
        "python",
        sys.version_info >= (3, 10),
        True,
        sys.version.split()[0],
        "use Python 3.10 to 3.12",
    )
    for name, module, extra in (("numpy", "numpy", ""), ("pyserial", "serial", ""), ("pyzmq", "zmq", ""), ("onnxruntime", "onnxruntime", "cpu"), ("opencv", "cv2", "vision"), ("mujoco (twin)", "mujoco", "twin"), ("foxglove-sdk (log)", "foxglove", "log"), ("starlette (page)", "starlette", "console")):  # fmt: skip
        yield _package(name, module, True, f"pip install '.[{extra}]'" if extra else "make setup")
    yield _package(
        "tensorrt",
        "tensorrt",
        False,
        "Jetson: python3-libnvinfer and a venv with --system-site-packages",
    )


def check_compiler() -> Iterator[Finding]:
    """A C compiler for the firmware core."""
    found = [" ".join(c) for c in compilers()]
    yield Finding(
        "C compiler", bool(found), True, found[0] if found else "none", "pip install ziglang"
    )


def check_firmware() -> Iterator[Finding]:
    """What building, emulating and flashing boards needs; a twin runs without."""
    arm = arm_compilers()
    yield Finding(
        "ARM compiler", bool(arm), False, arm[0][0] if arm else "none",
        "pip install ziglang, or your system's gcc-arm-none-eabi; for `companion firmware build`",
    )  # fmt: skip
    qemu = shutil.which("qemu-system-arm")
    yield Finding(
        "board emulator", bool(qemu), False, qemu or "none",
        "install qemu-system-arm; for `--firmware qemu`",
    )  # fmt: skip
    for module in ("imgtool", "smpclient"):
        yield _package(module, module, False, "pip install '.[firmware]'; for `companion flash`")


def check_machine() -> Iterator[Finding]:
    """Priority, memory, disk."""
    allowed = try_fifo()
    yield Finding(
        "real-time priority",
        allowed,
        False,
        "allowed" if allowed else "not allowed",
        "set LimitRTPRIO (systemd) or rtprio in /etc/security/limits.d; the twin runs without",
    )
    folder = runs_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(folder).free / 1e9
        yield Finding(
            "disk for logs", free > 1, True, f"{free:.1f} GB free at {folder}", "delete old logs"
        )
    except OSError as error:
        yield Finding(
            "disk for logs", False, True, f"{folder} cannot be made ({error.strerror})",
            "give this user that folder, or set XDG_STATE_HOME to one it has",
        )  # fmt: skip
    yield Finding(
        "runtime folder", os.access(base_folder().parent, os.W_OK), True, str(base_folder())
    )


def check_bundle() -> Iterator[Finding]:
    """The default bundle and each backend."""
    try:
        bundle = load_bundle(find_bundle(DEFAULT_BUNDLE), load_body("companion").layout())
    except ModelError as error:
        yield Finding("bundle", False, True, str(error), "install the bundle again")
        return
    m = bundle.manifest
    yield Finding("bundle", True, True, f"{m.name} {m.version}, signed by {bundle.signed_by}")
    for name, load in loaders(engines_folder()).items():
        try:
            load(bundle, "policy" if name == "ort-cpu" else "observe").close()
        except ModelError as error:
            yield Finding(f"backend {name}", False, name == "ort-cpu", str(error)[:110])
        else:
            yield Finding(f"backend {name}", True, False, "runs")


def check_calibration() -> Iterator[Finding]:
    """What is installed for a robot, and whether any of it is due."""
    rows = installed(calibration_folder())
    odd = [f"{r['tool']} of {r['serial']} is {r['state']}" for r in rows if r["state"] != "good"]
    found = f"{len(rows)} installed" + (f": {', '.join(odd)}" if odd else "")
    yield Finding("calibration", bool(rows) and not odd, False, found, "companion calibrate robot; companion calibrate status tells more")  # fmt: skip


def check_devices() -> Iterator[Finding]:
    """What is plugged in."""
    ports = sorted(
        str(p)
        for pattern in ("ttyACM*", "ttyUSB*", "companion-mcu")
        for p in Path("/dev").glob(pattern)
    )
    cameras = sorted(str(p) for p in Path("/dev").glob("video*"))
    yield Finding(
        "serial ports",
        bool(ports),
        False,
        ", ".join(ports) or "none",
        "plug in the motor controller (not needed on the twin)",
    )
    yield Finding(
        "cameras",
        bool(cameras),
        False,
        ", ".join(cameras) or "none",
        "plug in the camera (not needed on the twin)",
    )


CHECKS: tuple[Callable[[], Iterator[Finding]], ...] = (
    check_python, check_compiler, check_firmware, check_machine, check_bundle, check_devices, check_calibration,
)  # fmt: skip
