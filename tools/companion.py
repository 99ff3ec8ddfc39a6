"""The `companion` command: one table of verbs, one place where errors become exit codes.

Exit codes: 0 done, 1 failed, 2 wrong use, 3 done but degraded.
"""

from __future__ import annotations

import argparse
import difflib
import importlib
import os
import re
import signal
import sys
from dataclasses import dataclass
from importlib import metadata
from types import ModuleType

from calibration.errors import CalibrationError
from firmware_bridge.errors import BridgeError
from models.errors import ModelError
from runtime.errors import ConfigError, RuntimeFault
from tools import remote
from tools.calibrate.table import RECORDED, TOOLS

FAILED, USAGE = 1, 2
PACKAGES = {  # whose import has another name
    "smp": "smpclient", "elftools": "pyelftools", "intelhex": "imgtool", "cv2": "opencv-python-headless",
    "foxglove": "foxglove-sdk",
}  # fmt: skip
OURS = ("firmware_bridge", "models", "calibration", "runtime", "tools")


@dataclass(frozen=True, slots=True)
class Verb:
    """One verb: its words, the module with `add_arguments` and `main`, and one line of help."""

    words: tuple[str, ...]
    module: str
    help: str
    function: str = "main"
    arguments: str = "add_arguments"


VERBS = (
    Verb(("run",), "tools.run", "run the robot, or its twin, and tell the story"),
    Verb(("why",), "tools.why", "why is it not moving? walks power, link, mode, limits, policy, operator"),
    Verb(("doctor",), "tools.doctor", "what is installed, plugged in and allowed on this machine"),
    Verb(("link", "watch"), "tools.link", "decoded messages of a port, live", "watch", "add_watch"),
    Verb(("link", "stats"), "tools.link", "rates, errors and round trip of a port", "stats", "add_stats"),
    Verb(("link", "loopback"), "tools.link", "numbers out and back: does the wire lose or change any?", "loopback", "add_loopback"),
    Verb(("bringup",), "tools.bringup", "is this board wired right? jogs each joint, wheels off the ground"),
    Verb(("flash",), "tools.flash", "put firmware on a board: find it, check, upload, trial, confirm"),
    Verb(("firmware", "build"), "tools.firmware", "build the MCU's program for this machine or a board", "build", "add_build"),
    Verb(("firmware", "sign"), "tools.firmware", "sign a program for a board", "sign_program", "add_sign"),
    Verb(("firmware", "keygen"), "tools.firmware", "make a signing key", "keygen", "add_keygen"),
    Verb(("calibrate", "robot"), "tools.calibrate.robot", "all field calibrations in order, what is still good skipped, and a proof drive"),
    Verb(("calibrate", "imu-static", "record"), "tools.calibrate.imu_record", "log the robot's own IMU at rest", "record", "add_record"),
    Verb(("calibrate", "camera", "solve"), "tools.calibrate.camera", "intrinsics from pictures of a board", "solve", "add_solve"),
    Verb(("calibrate", "head", "record"), "tools.calibrate.head", "look at a fixed board from many poses of the head", "record", "add_record"),
    Verb(("calibrate", "head", "solve"), "tools.calibrate.head", "where the camera sits on the head", "solve", "add_solve"),
    Verb(("calibrate", "motor", "record"), "tools.calibrate.motor", "sweep every joint both ways, on a stand, at a tenth of the current", "record", "add_record"),
    Verb(("calibrate", "motor", "solve"), "tools.calibrate.motor", "direction, gain, delay, play and travel of every joint", "solve", "add_solve"),
    Verb(("calibrate", "target"), "tools.calibrate.target", "a board to print, and its true size once it is printed"),
    Verb(("calibrate", "camera", "record"), "tools.calibrate.camera_record", "guided pictures of a board, taken by themselves when they are good", "record", "add_record"),
    Verb(("calibrate", "camera-quick", "solve"), "tools.calibrate.camera_quick", "is the lens still the one that was calibrated? three shots", "solve", "add_solve"),
    Verb(("calibrate", "wheels", "record"), "tools.calibrate.wheels_record", "drive squares both ways and log wheels and gyro", "record", "add_record"),
    Verb(("calibrate", "wheels", "solve"), "tools.calibrate.wheels", "base and wheel diameters from a log of driving", "solve", "add_solve"),
    Verb(("calibrate", "latency", "record"), "tools.calibrate.latency_record", "turn to and fro, faster and faster, and log command, wheels, gyro and frames", "record", "add_record"),
    Verb(("calibrate", "latency", "solve"), "tools.calibrate.latency", "the delay of each sensor after its cause, and whether stamps can be trusted", "solve", "add_solve"),
    *(Verb(("calibrate", tool, "install"), "tools.calibrate.install", "put a result in force, or go back to the one before") for tool in RECORDED),
    *(Verb(("calibrate", tool, "report"), "tools.calibrate.report", "the page of a result, and how it differs from what is installed") for tool in RECORDED),
    Verb(("calibrate", "watch"), "tools.calibrate.watch", "has a calibration drifted? the robot's own watch, over a recorded run"),
    Verb(("calibrate", "status"), "tools.calibrate.install", "what is installed, how old and how good, and when it is due", "status", "add_status"),
    Verb(("model", "train"), "tools.model", "train a bundle from twin data", "train", "add_train"),
    Verb(("model", "evaluate"), "tools.evaluate.command", "prediction, skills, surprise and planning on fresh seeds", "evaluate"),
    Verb(("model", "levels"), "tools.model_levels", "set a bundle's alarm levels anew"),
    Verb(("model", "list"), "tools.model", "bundles and whether they can be used here", "list_bundles", "add_list"),
    Verb(("model", "parity"), "tools.model_parity", "does every runtime of this machine compute the same from a bundle?"),
    Verb(("model", "export"), "tools.model_export", "a copy of a bundle in fp16 or int8"),
    Verb(("model", "geometry"), "tools.geometry", "how the networks bend, stretch and stay bounded, and what that warns of"),
    Verb(("engine", "build"), "tools.engine", "build TensorRT engines for this GPU"),
    Verb(("planner", "serve"), "tools.planner", "serve goals as sequences of skills over ZeroMQ", "serve", "add_serve"),
    Verb(("plan",), "tools.planner", "ask the planner what it would propose for a goal", "plan", "add_plan"),
    Verb(("log", "info"), "tools.log", "what is in a log", "info", "add_info"),
    Verb(("log", "recover"), "tools.log", "copy the readable part of a cut log", "recover", "add_recover"),
    Verb(("bench",), "tools.bench", "speed, as ratios against named baselines"),
    Verb(("config", "show"), "tools.config", "the resolved configuration", "show", "add_show"),
    Verb(("config", "check"), "tools.config", "check a body file and robot.toml", "check", "add_check"),
    Verb(("calibrate", "imu-multi", "record"), "tools.calibrate.imu_multi_record", "turn the robot by hand through the poses that it asks for", "record", "add_record"),
    Verb(("calibrate", "imu-multi", "solve"), "tools.calibrate.imu_multi", "scale, misalignment and bias of an IMU from still poses (factory, 8 min)"),
    Verb(("calibrate", "imu-allan", "record"), "tools.calibrate.imu_allan_record", "log the robot's own IMU for hours at rest; goes on after a power cut", "record", "add_record"),
    Verb(("calibrate", "imu-allan", "solve"), "tools.calibrate.imu_allan", "noise densities of an IMU from hours at rest (factory)"),
    Verb(("calibrate", "imu-static", "solve"), "tools.calibrate.imu_static", "bias and noise of an IMU from a minute at rest (field, 1 min)"),
    Verb(("calibrate", "cam-imu", "record"), "tools.calibrate.cam_imu_record", "the robot turns, nods, looks around and drives before a board, and films it", "record", "add_record"),
    Verb(("calibrate", "cam-imu", "solve"), "tools.calibrate.cam_imu", "time offset and rotation of a camera, or a gyro, to a gyro (field, 2 min)"),
    Verb(("calibrate", "convert"), "tools.calibrate.convert", "one calibration in another tool's format"),
    Verb(("version",), "tools.version", "versions of the product and of what it stands on"),
)  # fmt: skip
GROUPS = {
    "link": "the wire to the motor controller",
    "firmware": "the motor controller's program",
    "calibrate": "calibrations that tell whether they can be trusted",
    "model": "world models and policies",
    "engine": "TensorRT engines",
    "planner": "the slow planner",
    "log": "the black box",
    "config": "configuration",
}
GROUPS |= {
    f"calibrate {name}": TOOLS[name].help
    for name in dict.fromkeys(v.words[1] for v in VERBS if v.words[0] == "calibrate")
    if any(v.words[:2] == ("calibrate", name) and len(v.words) > 2 for v in VERBS)
}


def build_parser(argv: list[str]) -> argparse.ArgumentParser:
    """The parser; only the asked verb's module is imported."""
    parser = argparse.ArgumentParser(
        prog="companion",
        description="On-board controller of a companion robot.",
        epilog="Exit codes: 0 done, 1 failed, 2 wrong use, 3 done but degraded.",
        allow_abbrev=False,
    )
    verbs = parser.add_subparsers(title="verbs", metavar="VERB", required=True)
    groups: dict[str, argparse._SubParsersAction[argparse.ArgumentParser]] = {}
    for verb in VERBS:
        target = verbs
        for depth in range(1, len(verb.words)):
            group = " ".join(verb.words[:depth])
            if group not in groups:
                inner = target.add_parser(
                    verb.words[depth - 1], help=GROUPS[group], description=GROUPS[group]
                )
                groups[group] = inner.add_subparsers(title="verbs", metavar="VERB", required=True)
            target = groups[group]
        # no abbreviations: `--rob` would go past what looks for `--robot`, and act on this machine
        sub = target.add_parser(
            verb.words[-1], help=verb.help, description=verb.help, allow_abbrev=False
        )
        if tuple(argv[: len(verb.words)]) == verb.words:
            module = _module(verb)
            getattr(module, verb.arguments)(sub)
            if verb.words[0] in remote.VERBS:
                sub.add_argument(
                    remote.OPTION, metavar="HOST", help="do it on this robot, over ssh"
                )
            options = [o for a in sub._actions for o in a.option_strings if o.startswith("--")]
            sub.set_defaults(
                handler=getattr(module, verb.function), options=options, words=verb.words
            )
    return parser


def _module(verb: Verb) -> ModuleType:
    """The verb's module; what it stands on may not be installed on this machine."""
    try:
        return importlib.import_module(verb.module)
    except ModuleNotFoundError as error:
        raise _not_installed(" ".join(verb.words), error) from error


def _not_installed(words: str, error: ModuleNotFoundError) -> Exception:
    """Which package is missing, and which extra brings it."""
    missing = (error.name or "").split(".")[0]
    if missing in OURS:
        return error
    extra = _extra(PACKAGES.get(missing, missing))
    get = f"pip install 'companion-controller[{extra}]'" if extra else f"pip install {missing}"
    return ConfigError(
        f"`companion {words}` needs the package {missing}, which is not installed; `make setup`, or {get}"
    )


def _extra(package: str) -> str:
    """The extra whose requirement a package is; empty where it is in none."""
    try:
        requirements = metadata.requires("companion-controller") or []
    except metadata.PackageNotFoundError:
        return ""
    found = (re.match(rf"{re.escape(package)}\b.*extra == .(\w+)", r) for r in requirements)
    return next((match.group(1) for match in found if match), "")


def _unknown(word: str, args: argparse.Namespace) -> str:
    """What was not understood, and what would have been."""
    valid = getattr(args, "options", [])
    near = difflib.get_close_matches(word.split("=")[0], valid, 1)
    hint = f"; did you mean {near[0]}?" if near else ""
    return f"unknown argument {word}: valid are {', '.join(valid)}{hint}"


def main(argv: list[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    if argv is not None:
        return _obey(argv)
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, _ended)
    code = _obey(sys.argv[1:])
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second Ctrl-C would end it with a traceback
    return code


class Ended(KeyboardInterrupt):
    """Asked to end from outside: as Ctrl-C, so that motors are parked and nothing is left behind."""


def _ended(number: int, frame: object) -> None:
    raise Ended(signal.Signals(number).name)


def _obey(argv: list[str]) -> int:
    try:
        return obey(argv)
    except KeyboardInterrupt as error:
        by = str(error) if isinstance(error, Ended) else "Ctrl-C"
        print(f"companion: stopped by {by}", file=sys.stderr)
        return FAILED


def obey(argv: list[str]) -> int:
    """As `main`; an interruption goes through, so that who runs several of our commands ends, too."""
    try:
        host, argv = remote.split_off(argv)
        if host is not None:
            return remote.main(host, argv)
        args, unknown = build_parser(argv).parse_known_args(argv)
        if unknown:
            raise ConfigError(_unknown(unknown[0], args))
        return int(args.handler(args))
    except ConfigError as error:
        print(f"companion: {error}", file=sys.stderr)
        return USAGE
    except ModuleNotFoundError as error:  # a part that only this use of the verb stands on
        words = " ".join(word for word in argv[:3] if not word.startswith("-"))
        told = _not_installed(words, error)
        if told is error:
            raise
        print(f"companion: {told}", file=sys.stderr)
        return USAGE
    except (RuntimeFault, ModelError, BridgeError, CalibrationError) as error:
        print(f"companion: {error}", file=sys.stderr)
        return FAILED
    except BrokenPipeError:  # the reader of our output has gone, as `| head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except OSError as error:
        said = error.strerror or " ".join(str(error).split())
        print(f"companion: {error.filename or 'the system'}: {said}", file=sys.stderr)
        return FAILED


if __name__ == "__main__":
    sys.exit(main())
