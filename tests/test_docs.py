"""The docs are true: every command that they show runs, and what they list is what there is.

A command in a ```sh block is really run, in an empty folder with an empty home. What needs real
time, a robot, a network or root stands in DRY, with what is run instead. Anything else that does
not run fails here.
"""

import glob
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from firmware_bridge import protocol, reconnect
from runtime.channels import channel_table
from runtime.modes import Mode
from runtime.skills import SKILLS
from tools import companion
from tools.companion import VERBS
from tools.config import load_robot

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md")]
PAGES += sorted((ROOT / "docs").glob("*.md")) + [ROOT / "firmware_bridge" / "README.md"]

# A command that starts with the left side is run as the right side ({rest}: what follows it).
DRY = {
    "make ": "make --dry-run -C {root} {rest}",
    ". .venv/bin/activate": "test -n '{root}'",
    "python3 -m venv --system-site-packages": "python3 -m venv --help",
    ".venv/bin/python -m pip install": "python -m pip install --help",
    # real time, or without an end
    "companion run --duration 0": "companion run --lockstep --duration 0.5",
    "companion run --planner": "companion run --help",
    "companion planner serve": "companion planner serve --help",
    # a robot or a GPU
    "companion run --target robot": "companion run --help",
    "companion link loopback --port": "companion link loopback --help",
    "companion link stats --port": "companion link stats --help",
    "companion link watch --port": "companion link watch --help",
    "companion engine build": "companion engine build --help",
    "companion why": "companion why --help",
    "companion calibrate status": "companion calibrate status --help",
    # a board, a compiler for it, or files of one's own
    "companion flash": "companion flash --help",
    "companion bringup": "companion bringup --help",
    "companion run --firmware qemu": "companion run --help",
    "companion firmware build --target": "companion firmware build --help",
    "companion firmware keygen": "companion firmware keygen --help",
    "cp firmware_bridge": "cp {root}/firmware_bridge{rest}",
    "companion calibrate robot": "companion calibrate robot --help",  # test_calibrate_robot.py
    "companion calibrate wheels": "companion calibrate wheels solve --help",  # and the others', too
    "companion calibrate motor": "companion calibrate motor solve --help",
    "companion calibrate head": "companion calibrate head solve --help",
    "companion calibrate watch": "companion calibrate watch --help",
    "companion calibrate latency": "companion calibrate latency solve --help",
    "companion calibrate imu-multi": "companion calibrate imu-multi solve --help",
    "companion calibrate imu-allan": "companion calibrate imu-allan solve --help",
    "companion calibrate cam-imu": "companion calibrate cam-imu solve --help",
    "companion calibrate cam-imu record": "companion calibrate cam-imu record --help",
    "companion calibrate imu-multi record": "companion calibrate imu-multi record --help",
    "companion calibrate convert": "companion calibrate convert --help",
    "companion calibrate camera solve": "companion calibrate camera solve --help",
    "companion calibrate camera record": "companion calibrate camera record --help",
    "companion calibrate camera report": "companion calibrate camera report --help",
    "companion calibrate camera install": "companion calibrate camera install --help",
    "companion calibrate camera-quick": "companion calibrate camera-quick solve --help",
    # long
    "companion model train": "companion model train --help",
    "companion model evaluate": "companion model evaluate --help",  # test_cli.py runs one
}  # fmt: skip


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)


def commands(page: Path) -> list[str]:
    lines = "".join(blocks(page, "sh")).replace("\\\n", " ").splitlines()
    return [line.strip() for line in lines if line.strip() and not line.startswith("#")]


def dry(command: str) -> str:
    """What is run for a command: itself, or the entry of DRY that names it most exactly."""
    found = max((k for k in DRY if command.startswith(k)), key=len, default="")
    if not found:
        return command
    rest = command.removeprefix(found).strip()
    return DRY[found].format(root=ROOT, rest=rest)


@pytest.fixture(autouse=True)
def empty_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nothing of this machine's user is seen or touched."""
    home = tmp_path / "home"
    home.mkdir()
    for name in ("HOME", "XDG_RUNTIME_DIR", "XDG_STATE_HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME"):
        monkeypatch.setenv(name, str(home))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")


def run(command: str) -> tuple[int, str]:
    """Exit code and stderr. Our own verbs run in this process: starting Python 50 times is slow."""
    words = shlex.split(command)
    if words[0] != "companion":
        done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=60)
        return done.returncode, done.stderr
    argv = [name for w in words[1:] for name in (sorted(glob.glob(w)) if "*" in w else [w])]
    try:
        return companion.main(argv), ""
    except SystemExit as left:
        return int(left.code or 0), ""


@pytest.mark.parametrize("page", [p for p in PAGES if commands(p)], ids=lambda p: p.name)
def test_every_command_runs(page: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for command in commands(page):
        code, err = run(dry(command))
        said = capsys.readouterr()
        assert code in (0, 3), f"{command}\n{said.out}\n{said.err}\n{err}"


def test_nothing_is_dry_that_no_page_shows() -> None:
    shown = [c for p in PAGES for c in commands(p)]
    for start in DRY:
        assert any(c.startswith(start) for c in shown), f"DRY names {start}, which no page shows"


def test_the_front_page_shows_the_two_commands_and_their_output() -> None:
    text = (ROOT / "README.md").read_text()
    assert text.count("```sh") == 2
    assert text.index("docs/images/page.png") < text.index("make run") < text.index("make test")
    for command in ("make run", "make test"):
        assert re.search(rf"<!-- output of {command} -->\n```\n.+?\n```", text, re.DOTALL)


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)]+)\)", page.read_text()):
        file = target.split("#")[0]
        if not file or "://" in file or file == "docs/images/page.png":
            continue
        assert (page.parent / file).exists(), f"{page.name} links to {target}"


def test_the_front_page_has_its_picture() -> None:
    image = ROOT / "docs" / "images" / "page.png"
    if not image.exists():
        pytest.skip("docs/images/page.png is taken from a finished run")
    assert image.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_files_that_are_named_exist(page: Path) -> None:
    named = re.findall(r"`((?:[\w.-]+/)+[\w-]+\.(?:py|c|h|toml|pem|js))`", page.read_text())
    for name in named:
        places = (ROOT / name, page.parent / name, ROOT / "firmware_bridge" / name)
        assert any(p.exists() for p in places), f"{page.name} names {name}"


def test_verbs_that_are_named_exist() -> None:
    first = {v.words[0] for v in VERBS}
    for page in PAGES:
        for verb in re.findall(r"`companion ([a-z]+)", page.read_text()):
            absent = f"`companion {verb}` does not exist"
            assert verb in first or absent in page.read_text(), f"{page.name}: companion {verb}"


def test_the_wire_table_is_the_declarations() -> None:
    table = (ROOT / "docs/wire.md").read_text().split("firmware_bridge.protocol -->\n")[1]
    assert table.strip() == protocol.markdown().strip(), (
        "renew docs/wire.md below its marker with `python -m firmware_bridge.protocol`"
    )


def test_the_links_table_is_the_codes() -> None:
    text = (ROOT / "firmware_bridge/README.md").read_text()
    shown = text.split("firmware_bridge.reconnect -->\n")[1].split("\n<!-- end -->")[0]
    assert shown == reconnect.markdown(), (
        "renew firmware_bridge/README.md between its markers with `python -m firmware_bridge.reconnect`"
    )
    tests = (ROOT / "tests/firmware_bridge/test_reconnect.py").read_text()
    for name in re.findall(r"`(test_\w+)`", text):
        assert f"def {name}(" in tests


def test_the_channel_table_is_the_codes() -> None:
    text = (ROOT / "docs/develop.md").read_text()
    rows = dict(re.findall(r"^\| ([a-z]+) \| ([a-z]+ \| \d+) \|", text, re.MULTILINE))
    table = channel_table(8, (4, 4, 3))
    assert rows == {
        name: f"{row.writer} | {row.hz:g}" for name, row in table.items() if "." not in name
    }
    assert {n.split(".")[0] for n in table if "." in n} == {"event", "alive"}


def test_every_mode_is_explained_to_the_operator() -> None:
    text = (ROOT / "docs/operate.md").read_text()
    for mode in Mode:
        assert f"\n| {mode.name.lower()} |" in text


def test_the_example_robot_toml_reads(tmp_path: Path) -> None:
    (text,) = blocks(ROOT / "docs/bring-up.md", "toml")
    file = tmp_path / "robot.toml"
    file.write_text(text)
    assert load_robot(file)[0].name == "rosie"


def test_the_skills_are_the_tables() -> None:
    text = (ROOT / "docs" / "operate.md").read_text()
    for s in SKILLS.values():
        row = f"| {s.name} | {s.does} | {', '.join(s.needs)} | {s.success} |"
        assert row.replace("|  |", "| |") in text, row
