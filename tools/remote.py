"""`--robot HOST`: the same verb on the robot over ssh; files go there and come back.

A path that exists here is sent; one that does not is the robot's own. What `--out` and its like name
comes back to where it would have been written here.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from runtime.errors import ConfigError, RuntimeFault

OPTION = "--robot"
VERBS = ("doctor", "why", "calibrate", "flash", "log")
WRITTEN = ("--out", "--report", "--work", "--kalibr")  # options that name what is written
THERE = ("--serial", "--port", "--body", "--folder", "--board")  # never a file of this machine
PAGES = (("calibrate", "camera", "record"),)  # verbs that serve a page on the robot's loopback
FOLDER = "/tmp/companion."
CONNECT_S = 10
SSH_FAILED, NOT_FOUND = 255, 127


def split_off(argv: list[str]) -> tuple[str | None, list[str]]:
    """The host of `--robot`, and the words without it; ConfigError where it makes no sense."""
    rest, host = list(argv), None
    for i, word in enumerate(rest):
        if word == OPTION or word.startswith(f"{OPTION}="):
            host = word.partition("=")[2] if "=" in word else "".join(rest[i + 1 : i + 2])
            del rest[i : i + (1 if "=" in word else 2)]
            break
    if host is None or {"-h", "--help"} & set(argv):
        return None, argv
    if not host or host.startswith("-"):
        raise ConfigError(f"{OPTION} {host}: give a host that ssh knows, as robot.local or user@10.0.0.5")  # fmt: skip
    if rest[:1] and rest[0] not in VERBS:
        raise ConfigError(f"{OPTION} is for {', '.join(VERBS)}; log in to the robot for {rest[0]}")
    return host, rest


class Lost(RuntimeFault):
    """The connection broke while something ran there."""


@dataclass
class Paths:
    """The words as the robot gets them, what to send first, what to fetch afterwards."""

    words: list[str] = field(default_factory=list)
    send: list[tuple[Path, str]] = field(default_factory=list)
    fetch: list[tuple[str, Path]] = field(default_factory=list)


def mapped(words: list[str], folder: str) -> Paths:
    """Replace paths of this machine by places in a folder of the robot."""
    out = Paths()
    option = ""
    for word in words:
        name, equals, value = word.partition("=") if word.startswith("--") else ("", "", word)
        if word.startswith("-") and not equals:
            out.words.append(word)
            option = word
            continue
        option, value = (name, value) if equals else (option, value)
        there = f"{folder}/{len(out.words)}/{Path(value).name}"
        here = Path(value).expanduser()
        taken = False
        if option in WRITTEN:
            out.fetch.append((there, here))
            taken = True
        named = "/" in value or "." in value or option
        if named and option not in THERE and (here.is_file() or here.is_dir()):  # no device
            out.send.append((here, there))
            taken = True
        out.words.append((f"{name}=" if equals else "") + (there if taken else value))
        option = ""
    return out


class Shell:
    """One ssh connection, shared by its commands, so that a password is asked for once."""

    def __init__(self, host: str, control: Path) -> None:
        self.host = host
        self._options = [
            *("-o", f"ConnectTimeout={CONNECT_S}", "-o", "ControlMaster=auto"),
            *("-o", f"ControlPath={control}", "-o", "ControlPersist=60"),
        ]
        if not sys.stdin.isatty():
            self._options += ["-o", "BatchMode=yes"]

    def ask(self, command: str) -> str:
        """Run a short command; its output."""
        done = subprocess.run(
            ["ssh", *self._options, self.host, command], capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise RuntimeFault(self._trouble(done.returncode, done.stderr))
        return done.stdout.strip()

    def run(self, command: str, terminal: bool, port: int) -> int:
        """Run the verb, its output passed on; its exit code."""
        more = ["-t"] if terminal else ["-T"]
        if port:
            more += ["-L", f"{port}:127.0.0.1:{port}"]
        return subprocess.run(["ssh", *self._options, *more, self.host, command], check=False).returncode  # fmt: skip

    def copy(self, source: str, target: str) -> None:
        """Copy a file or a folder; one side starts with `:` for the robot's."""
        ends = [f"{self.host}{end}" if end.startswith(":") else end for end in (source, target)]
        done = subprocess.run(
            ["scp", "-q", "-r", *self._options, *ends], capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise RuntimeFault(self._trouble(done.returncode, done.stderr))

    def close(self) -> None:
        """End the shared connection."""
        subprocess.run(
            ["ssh", *self._options, "-O", "exit", self.host], capture_output=True, check=False
        )

    def _trouble(self, code: int, said: str) -> str:
        last = said.strip().splitlines()[-1].strip() if said.strip() else f"exit code {code}"
        if code == SSH_FAILED:
            return f"no ssh connection to {self.host}: {last}; try `ssh {self.host}` yourself, it must work without a question"  # fmt: skip
        return f"{self.host}: {last}"


def main(host: str, argv: list[str]) -> int:
    """Send, run, fetch; the verb's own exit code."""
    for program in ("ssh", "scp"):
        if shutil.which(program) is None:
            raise ConfigError(f"{OPTION} needs {program}: install openssh-client")
    with tempfile.TemporaryDirectory(prefix="companion-ssh-") as here:
        shell = Shell(host, Path(here) / "control")
        try:
            folder = shell.ask(f"umask 077 && mktemp -d {FOLDER}XXXXXXXX")
            if not folder.startswith(FOLDER):
                raise RuntimeFault(f"{host}: asked for a folder, found {folder[:80]!r}; its shell prints on login")  # fmt: skip
            with _removed(shell, folder):
                return _there(shell, folder, argv, Path(here))
        finally:
            shell.close()


@contextlib.contextmanager
def _removed(shell: Shell, folder: str) -> Iterator[None]:
    """What was sent and written there goes, unless it could not come back: it may have taken hours."""
    try:
        yield
    except Lost:
        raise
    except BaseException:
        _remove(shell, folder)
        raise
    _remove(shell, folder)


def _remove(shell: Shell, folder: str) -> None:
    with contextlib.suppress(RuntimeFault):
        shell.ask(f"rm -rf {shlex.quote(folder)}")


def _there(shell: Shell, folder: str, argv: list[str], scratch: Path) -> int:
    if any(word == "--key" or word.startswith("--key=") for word in argv):
        raise ConfigError(
            "--key with --robot would send your key to the robot; sign here (`companion firmware sign`), "
            "then flash the signed image with --robot"
        )
    paths = mapped(argv, folder)
    if argv[:2] == ["log", "recover"] and paths.send and not paths.fetch:
        raise ConfigError(
            "log recover --robot of a log of this machine: give --out too, for what is made there; or recover it here, without --robot"
        )
    for parent in {os.path.dirname(p) for _, p in paths.send} | {os.path.dirname(p) for p, _ in paths.fetch}:  # fmt: skip
        shell.ask(f"mkdir -p {shlex.quote(parent)}")
    for source, target in paths.send:
        shell.copy(str(source), f":{target}")
    port = _page_port(argv)
    words = paths.words + ([] if not port or "--page" in argv else ["--page", str(port)])
    command = f"echo $$ > {folder}/pid && exec companion {shlex.join(words)}"
    terminal = sys.stdin.isatty() and sys.stdout.isatty()
    try:
        code = shell.run(command, terminal, port)
    except KeyboardInterrupt:  # without a terminal the robot's side does not hear it
        with contextlib.suppress(RuntimeFault):
            shell.ask(f"kill -INT $(cat {folder}/pid) && sleep 1")
        code = 1
    if code == SSH_FAILED:
        where = "".join(f"; what it writes lies in {shell.host}:{written}, fetch it with scp" for written, _ in paths.fetch)  # fmt: skip
        raise Lost(
            f"{shell.host}: the connection was lost; what moves there parks by itself{where}"
        )
    if code == NOT_FOUND:
        raise RuntimeFault(f"{shell.host} has no `companion` in its PATH; install it there first")
    for written, back in paths.fetch:
        _fetch(shell, written, back, scratch)
    return code


def _fetch(shell: Shell, source: str, target: Path, scratch: Path) -> None:
    """Bring back what was written, whole or not at all; nothing where nothing was written."""
    if shell.ask(f"test -e {shlex.quote(source)} && echo yes || true") != "yes":
        return
    with tempfile.TemporaryDirectory(dir=scratch) as part:
        got = Path(part) / target.name
        shell.copy(f":{source}", str(got))
        target.parent.mkdir(parents=True, exist_ok=True)
        if got.is_dir():
            shutil.copytree(got, target, dirs_exist_ok=True)
            return
        beside = target.with_name(f".{target.name}.{os.getpid()}")
        shutil.copyfile(got, beside)
        beside.replace(target)


def _page_port(argv: list[str]) -> int:
    """The port to forward, of a verb that serves a page; 0 for none."""
    if not any(tuple(argv[: len(words)]) == words for words in PAGES) or "--headless" in argv:
        return 0
    if "--page" in argv:
        given = "".join(argv[argv.index("--page") + 1 :][:1])
        return int(given) if given.isdecimal() else 0
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])
