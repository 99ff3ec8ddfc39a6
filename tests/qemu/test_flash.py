"""`companion flash` against the emulated board, as a person runs it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from firmware_bridge.signing import DEVELOPMENT_KEY, sign

ROOT = Path(__file__).parents[2]


def passports(tmp_path: Path) -> list[dict]:
    file = tmp_path / "data" / "companion" / "passports" / "qemu-board-1.json"
    return json.loads(file.read_text())["entries"] if file.is_file() else []


def test_flash_confirms_and_a_second_one_does_nothing(bench, firmware, companion, tmp_path):
    bench.info()
    image = firmware["0.2.0"].image
    first = companion("flash", "--port", bench.qemu.port, "--operator", "tech", image)
    assert first.returncode == 0, first.stdout + first.stderr
    assert "runs 0.1.0" in first.stdout and "confirmed: 0.2.0 runs" in first.stdout
    assert "100 %" in first.stdout
    again = companion("flash", "--port", bench.qemu.port, image, "--json")
    assert again.returncode == 0 and json.loads(again.stdout)["result"] == "up to date"
    (entry,) = passports(tmp_path)
    assert (entry["kind"], entry["result"], entry["operator"]) == ("flash", "confirmed", "tech")
    assert entry["facts"]["before"] == "0.1.0" and entry["facts"]["version"] == "0.2.0"
    label = (tmp_path / "data/companion/passports/qemu-board-1.html").read_text()
    assert "qemu-board-1" in label and "<svg" in label


def test_an_image_that_does_not_start_is_rolled_back_with_the_reason(
    bench, dead_image, companion, tmp_path
):
    bench.info()
    result = companion("flash", "--port", bench.qemu.port, dead_image, "--json")
    told = json.loads(result.stdout)
    assert result.returncode == 1 and told["result"] == "rolled back"
    assert told["reason"] == "not confirmed" and told["after"] == "0.1.0"
    assert passports(tmp_path)[-1]["result"] == "rolled back"


def test_refused_before_the_first_byte(bench, firmware, board, companion, tmp_path):
    other = tmp_path / "other.bin"
    program = firmware["0.2.0"].program.read_bytes()
    sign(
        program,
        msgspec.structs.replace(board, hardware="companion-other"),
        "0.2.0",
        DEVELOPMENT_KEY,
        other,
    )
    bench.info()
    before = bench.memory.read_slot(1)
    result = companion("flash", "--port", bench.qemu.port, other)
    assert result.returncode == 1 and "wrong hardware" in result.stderr
    junk = tmp_path / "junk.bin"
    junk.write_bytes(b"hello")
    result = companion("flash", "--port", bench.qemu.port, junk)
    assert result.returncode == 1 and "no signed firmware image" in result.stderr
    assert bench.memory.read_slot(1) == before and bench.running() == "0.1.0"


def interrupted(bench, firmware, tmp_path, word: str) -> str:
    """Ctrl-C once a line says `word`; all that was said."""
    command = [sys.executable, "-u", "-m", "tools.companion", "flash", "--port", bench.qemu.port]
    process = subprocess.Popen(
        [*command, str(firmware["0.2.0"].image)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True, cwd=ROOT, env={**os.environ, "XDG_DATA_HOME": str(tmp_path / "data")},
    )  # fmt: skip
    said = ""
    with process:
        for line in process.stdout:
            said += line
            if said.count(word) == 1 and word in line:
                process.send_signal(signal.SIGINT)
    assert process.returncode == 1 and "Traceback" not in said
    return said


@pytest.mark.parametrize(
    ("word", "told", "then"),
    [
        ("26 %", "the image that runs is untouched", "upload"),
        ("on trial", "the new image is on trial", "on trial already: going on with it"),
    ],
)
def test_ctrl_c_says_what_is_left_and_the_next_flash_goes_on(
    bench, firmware, companion, tmp_path, word, told, then
):
    bench.info()
    assert told in interrupted(bench, firmware, tmp_path, word)
    assert passports(tmp_path)[-1]["result"] == "stopped"
    result = companion("flash", "--port", bench.qemu.port, firmware["0.2.0"].image)
    assert result.returncode == 0 and then in result.stdout, result.stdout + result.stderr
    assert passports(tmp_path)[-1]["result"] == "confirmed"


def test_an_image_that_ran_already_begins_the_passport_once(bench, firmware, companion, tmp_path):
    bench.info()
    for _ in range(2):
        result = companion("flash", "--port", bench.qemu.port, firmware["0.1.0"].image)
        assert result.returncode == 0 and "already up to date" in result.stdout
    (entry,) = passports(tmp_path)
    assert (entry["result"], entry["facts"]["reason"]) == ("confirmed", "found running")


def test_a_passport_that_cannot_be_written_is_said_before_the_first_byte(
    bench, firmware, companion, tmp_path
):
    bench.info()
    before = bench.memory.read_slot(1)
    (tmp_path / "data").write_text("a file where the folder should be")
    result = companion("flash", "--port", bench.qemu.port, firmware["0.2.0"].image)
    assert result.returncode == 1 and result.stderr.count("\n") == 1
    assert "passport" in result.stderr and "XDG_DATA_HOME" in result.stderr
    assert bench.memory.read_slot(1) == before
