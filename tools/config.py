"""`companion config show|check`: body file and robot.toml, strictly."""

from __future__ import annotations

import argparse
import difflib
import json
from pathlib import Path

import msgspec
import tomli_w

from runtime.body import load_body
from runtime.errors import ConfigError


class RobotConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """robot.toml: what differs from robot to robot."""

    name: str = "companion"
    body: str = "companion"
    port: str = "/dev/companion-mcu"
    camera: str = "0"
    bundle: str = "companion-follow"
    planner: str = ""
    allow_development_key: bool = False
    needs_operator: bool = True


PLACES = (Path("/etc/companion/robot.toml"), Path("~/.config/companion/robot.toml"))


def load_robot(path: Path | None) -> tuple[RobotConfig, str]:
    """The robot's configuration and where it came from; ConfigError lists valid keys."""
    if path is not None and not path.is_file():
        raise ConfigError(f"no file {path}; give a robot.toml, or leave it out for the defaults")
    chosen = path or next((p for q in PLACES if (p := q.expanduser()).is_file()), None)
    if chosen is None:
        return RobotConfig(), "defaults"
    try:
        found = msgspec.toml.decode(chosen.read_bytes())
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{chosen}: {error}; mend the file") from error
    known = RobotConfig.__struct_fields__
    for key in found:
        if key not in known:
            near = difflib.get_close_matches(key, known, 1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise ConfigError(f"{chosen}: unknown key {key}: valid are {', '.join(known)}{hint}")
    try:
        return msgspec.convert(found, RobotConfig), str(chosen)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{chosen}: {error}; mend the file") from error


def add_show(parser: argparse.ArgumentParser) -> None:
    """Options of `config show`."""
    parser.add_argument(
        "--config", type=Path, default=None, help="a robot.toml (default: the installed one)"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def show(args: argparse.Namespace) -> int:
    """Print the resolved configuration and where it came from."""
    robot, origin = load_robot(args.config)
    body = load_body(robot.body)
    resolved = {
        "origin": origin,
        "robot": msgspec.to_builtins(robot),
        "body": msgspec.to_builtins(body),
    }
    print(
        json.dumps(resolved)
        if args.json
        else f"# from {origin}\n"
        + tomli_w.dumps({k: v for k, v in resolved.items() if k != "origin"})
    )
    return 0


def add_check(parser: argparse.ArgumentParser) -> None:
    """Options of `config check`."""
    parser.add_argument(
        "--config", type=Path, default=None, help="a robot.toml (default: the installed one)"
    )


def check(args: argparse.Namespace) -> int:
    """Say that everything reads, or what does not."""
    robot, origin = load_robot(args.config)
    body = load_body(robot.body)
    body.limit_table().counts()
    stop_ms = body.motion.motion_ttl_ms + max(
        1000 * j.velocity_max_rad_s / j.stop_deceleration_rad_s2
        for j in body.joint
        if j.command == "velocity"
    )
    if stop_ms > 230:
        raise ConfigError(
            f"body {body.name}: the wheels take {stop_ms:.0f} ms to stop after the last command, allowed 230; raise stop_deceleration_rad_s2 or lower motion_ttl_ms"
        )
    print(
        f"robot {robot.name} ({origin}), body {body.name}: {len(body.joint)} joints, stops in {stop_ms:.0f} ms"
    )
    return 0
