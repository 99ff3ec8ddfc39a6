"""`companion flash --blank` through the real stm32loader, against an emulated ROM; and what it refuses first."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path

import pytest

from firmware_bridge.board import load_board
from firmware_bridge.errors import BuildError
from firmware_bridge.package import Firmware, build_firmware
from firmware_bridge.serial_port import SerialTransport
from firmware_bridge.signing import DEVELOPMENT_KEY
from runtime.body import load_body
from tools import companion, flash_blank, rom_programs
from tools.firmware import product_version

spec = importlib.util.spec_from_file_location("stm32_rom", Path(__file__).with_name("stm32_rom.py"))
assert spec is not None and spec.loader is not None
stm32_rom = importlib.util.module_from_spec(spec)
sys.modules["stm32_rom"] = stm32_rom
spec.loader.exec_module(stm32_rom)

needs_stm32loader = pytest.mark.skipif(
    importlib.util.find_spec("stm32loader") is None,
    reason="no stm32loader: pip install stm32loader",
)


@pytest.fixture(scope="module")
def firmware() -> Firmware:
    try:
        table = load_body("companion").limit_table()
        built = build_firmware(load_board("stm32f405"), table, product_version(), DEVELOPMENT_KEY)
    except BuildError as error:
        pytest.skip(f"no compiler for ARM here: {error}")
    if built.loader is None:
        pytest.skip(built.lacks)
    return built


@pytest.fixture
def rom(tmp_path, monkeypatch):
    (tmp_path / "sitecustomize.py").write_text(stm32_rom.AS_A_UART)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    monkeypatch.setattr(flash_blank, "START_S", 1.5)
    board = stm32_rom.Stm32Rom()
    yield board
    board.close()


@pytest.fixture
def blank(rom, firmware, capsys):
    """The command as a person types it: exit code, stdout, stderr."""

    def run(*more: str, port: str = rom.port) -> tuple[int, str, str]:
        words = ["flash", "--blank", "--board", "stm32f405", "--via", "rom", "--port", port]
        code = companion.main([*words, "--operator", "tech", "--yes", *more])
        out, err = capsys.readouterr()
        assert "Traceback" not in out + err
        return code, out, err

    return run


def entries(tmp_path: Path) -> list[dict]:
    file = tmp_path / "companion" / "passports" / f"{stm32_rom.UID.hex()}.json"
    return json.loads(file.read_text())["entries"] if file.is_file() else []


def holds(rom, firmware: Firmware) -> bool:
    board = load_board("stm32f405")
    loader, image = firmware.loader.read_bytes(), firmware.image.read_bytes()
    slot = board.nvm.slots[0]
    rest = bytearray(rom.flash)
    rest[: len(loader)] = b"\xff" * len(loader)
    rest[slot : slot + len(image)] = b"\xff" * len(image)
    right = rom.flash.startswith(loader) and rom.flash[slot:].startswith(image)
    return right and not rest.strip(b"\xff")


@needs_stm32loader
@pytest.mark.heavy
def test_a_blank_chip_gets_loader_and_image_and_its_passport_begins(rom, blank, firmware, tmp_path):
    code, out, err = blank()
    assert holds(rom, firmware)
    assert rom.done[0] == "erase" and set(rom.done[1:]) == {"write"}
    assert "uid 2a0041000f51383437363730" in out and "1024 KiB" in out
    assert code == 1  # nobody answers here: the emulation has a ROM and no core
    assert "written and verified; release BOOT0 and press reset" in out
    assert (
        err
        == "companion: nothing answers yet: release BOOT0, press reset, then `companion flash` looks again\n"
    )
    (entry,) = entries(tmp_path)
    assert (entry["kind"], entry["result"], entry["operator"]) == ("blank", "written", "tech")
    assert entry["facts"]["sha256"] and entry["facts"]["version"] == product_version()


@needs_stm32loader
@pytest.mark.heavy
def test_a_refusal_or_a_dead_line_is_one_sentence_and_the_next_run_succeeds(
    rom, blank, firmware, tmp_path
):
    rom.nack_at = 40
    code, out, err = blank()
    assert code == 1 and err.count("\n") == 1 and "writing the loader" in err and "NACK" in err
    rom.dead_at = rom.writes + len(firmware.loader.read_bytes()) // 256 + 60  # within the image
    code, out, err = blank()
    assert code == 1 and err.count("\n") == 1 and "writing the image" in err
    assert "timeout" in err and "run it again" in err
    assert not holds(rom, firmware) and entries(tmp_path) == []
    code, out, err = blank()
    assert code == 1 and err.count("\n") == 1 and "BOOT0" in err  # dead still
    rom.power_cycle()
    code, out, err = blank("--json")
    told = json.loads(out)
    assert (code, told["result"], told["uid"]) == (1, "written", stm32_rom.UID.hex())
    assert holds(rom, firmware) and len(entries(tmp_path)) == 1


@needs_stm32loader
def test_another_chip_is_refused_before_anything_is_erased(rom, blank):
    rom.chip = 0x410
    code, _, err = blank()
    assert code == 1 and "wrong chip" in err and "0x410" in err and "nothing was erased" in err
    assert rom.done == []


@needs_stm32loader
def test_a_port_that_is_held_is_left_alone(rom, blank):
    other = SerialTransport(rom.port)
    code, _, err = blank()
    other.close()
    assert code == 1 and "busy" in err and not rom.synced


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ([], "`pip install stm32loader`"),
        (["--via", "swd"], "`pip install pyocd`"),
        (["some.bin"], "leave some.bin out"),
    ],
)
def test_what_is_missing_or_too_much_is_said_first(monkeypatch, capsys, words, found):
    monkeypatch.setattr(rom_programs.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(rom_programs.shutil, "which", lambda name: None)
    assert companion.main(["flash", "--blank", "--port", "/dev/null", "--yes", *words]) == 2
    assert found in capsys.readouterr().err


def test_a_probe_whose_chip_needs_a_pack_says_so(monkeypatch, tmp_path, capsys):
    tool = tmp_path / "pyocd"
    tool.write_text("#!/bin/sh\nexit 0\n")  # as the real one, which lists nothing of that name
    tool.chmod(0o755)
    monkeypatch.setattr(rom_programs.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(rom_programs.shutil, "which", lambda name: str(tool))
    assert companion.main(["flash", "--blank", "--via", "swd", "--yes"]) == 2
    assert "`pyocd pack install stm32f405rg`" in capsys.readouterr().err
