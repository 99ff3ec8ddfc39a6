"""A board's passport: appended to by anybody at once, never half-written, never overwritten when it is damaged."""

from __future__ import annotations

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from runtime.errors import RuntimeFault
from tools import passport

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    return tmp_path / "companion" / "passports"


def add(uid: str = "2a00", number: int = 0) -> Path:
    facts = {"version": f"1.0.{number}", "sha256": "ab" * 32}
    return passport.append(uid, "companion-stm32f405", "flash", "confirmed", facts, "tech")


def test_programs_that_append_at_once_lose_nothing(folder):
    """Processes, for the lock is theirs."""
    code = "import sys; from tools import passport\nfor i in range(10): passport.append('2a00', 'h', 'flash', 'confirmed', {'n': i}, sys.argv[1])"

    def run(name: str) -> int:
        return subprocess.run([sys.executable, "-c", code, name], cwd=ROOT, timeout=60).returncode

    with ThreadPoolExecutor(3) as pool:
        assert list(pool.map(run, ("a", "b", "c"))) == [0, 0, 0]
    found = passport.read_passport("2a00")
    assert found is not None and len(found.entries) == 30
    for name in "abc":
        assert [e.facts["n"] for e in found.entries if e.operator == name] == list(range(10))


@pytest.mark.parametrize(
    "uid", ["../../etc/passwd", "..", "", "a b", "\x00\x01", "ü" * 40, "-rf", "x" * 300]
)
def test_a_strange_uid_is_a_file_in_the_folder(folder, uid):
    path = add(uid)
    assert path.parent == folder and path.is_file() and path.with_suffix(".html").is_file()
    found = passport.read_passport(uid)
    assert found is not None and found.uid == uid


def test_a_damaged_passport_is_left_as_it_is(folder):
    path = add()
    path.write_bytes(path.read_bytes()[:-40])
    before = path.read_bytes()
    for attempt in (lambda: passport.check("2a00"), add):
        with pytest.raises(RuntimeFault, match="move it away"):
            attempt()
    assert path.read_bytes() == before


def test_on_a_full_disk_the_old_one_stays_and_nothing_is_left_behind(folder, monkeypatch):
    path = add(number=1)

    def full(fd: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(passport.os, "fsync", full)
    with pytest.raises(RuntimeFault, match="No space left.*as it was.*flash confirmed"):
        add(number=2)
    assert len(json.loads(path.read_text())["entries"]) == 1
    assert sorted(p.name for p in folder.iterdir()) == [".lock", "2a00.html", "2a00.json"]


def test_the_label_fills_its_code_and_says_what_somebody_with_the_board_asks(folder):
    facts = {"version": "1.2.3", "sha256": "ab12cd34" * 8}
    passport.append("2a00", "companion-x", "flash", "confirmed", facts, "<b>A & B</b>")
    passport.append("2a00", "companion-x", "flash", "broken off", {"version": "9.9.9"}, "C")
    text = (
        passport.append("2a00", "companion-x", "bringup", "FAIL", {}, "D")
        .with_suffix(".html")
        .read_text()
    )
    svg = text[text.index("<svg") : text.index(">", text.index("<svg"))]
    assert "viewBox" in svg and "width" not in svg  # else it stays at one pixel per module
    assert "&lt;b&gt;A &amp; B&lt;/b&gt;" in text and "<b>A" not in text
    for shown in ("companion-x", "2a00", "1.2.3", "ab12cd34", "class=bad>FAIL"):
        assert shown in text
    assert "9.9.9" not in text  # it never ran
