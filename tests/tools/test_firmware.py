"""Keys, signatures and boards on the command line."""

from __future__ import annotations

import dataclasses
import os
import re
import stat
import struct
from types import SimpleNamespace

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from firmware_bridge import build, package, sources
from firmware_bridge.arm_build import arm_compilers
from firmware_bridge.board import Board, board_names, load_board
from firmware_bridge.errors import BoardError, BuildError, ImageError
from firmware_bridge.signing import DEVELOPMENT_KEY, load_key, read_image
from runtime.body import load_body
from tools import companion

needs_arm = pytest.mark.skipif(
    not arm_compilers(), reason="no arm-none-eabi-gcc and no ziglang wheel here"
)


def program_of(name: str) -> bytes:
    """Vectors that point into a board's memory, and nothing behind them."""
    memory = load_board(name).memory
    return struct.pack("<II", sum(memory.app_ram), memory.app_exec[0] + 0x41) + bytes(92)


def test_keygen_makes_a_private_key_and_never_overwrites(tmp_path, capsys):
    key = tmp_path / "mine.pem"
    assert companion.main(["firmware", "keygen", str(key)]) == 0
    assert stat.S_IMODE(os.stat(key).st_mode) == 0o600
    first = key.read_bytes()
    assert companion.main(["firmware", "keygen", str(key)]) == 1
    assert "there is one already" in capsys.readouterr().err and key.read_bytes() == first
    assert not load_key(key).is_development and load_key(DEVELOPMENT_KEY).is_development


def test_sign_makes_an_image_that_reads_back(tmp_path, capsys):
    program, key, out = tmp_path / "p.bin", tmp_path / "k.pem", tmp_path / "image.bin"
    program.write_bytes(program_of("stm32f405"))
    companion.main(["firmware", "keygen", str(key)])
    words = [
        "firmware",
        "sign",
        str(program),
        "--target",
        "stm32f405",
        "--key",
        str(key),
        "--out",
        str(out),
    ]
    assert companion.main([*words, "--version", "1.2.3+4"]) == 0
    image = read_image(out)
    assert image.version == (1, 2, 3, 4) and image.version_text == "1.2.3.4"
    assert image.hardware == "companion-stm32f405" and image.key_hash == load_key(key).der_hash
    assert sorted(p.name for p in tmp_path.iterdir()) == ["image.bin", "k.pem", "p.bin"]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"--version": "1"}, "MAJOR.MINOR.PATCH"),
        ({"--version": "256.0.0"}, "up to 255"),
        ({"--version": "1.0.65536"}, "up to 255"),
        ({"--version": "../../1.0.0"}, "MAJOR.MINOR.PATCH"),
        ({"program": "picture.png"}, "no program for mps2"),
        ({"program": "empty.bin"}, "no program for mps2 (0 bytes"),
        ({"program": "other.bin"}, "no program for mps2"),
        ({"--out": "k.pem"}, "is the key itself"),
        ({"--out": "p.bin"}, "is the program itself"),
        ({"--out": "."}, "is a folder"),
        ({"--key": "missing.pem"}, "keygen"),
        ({"program": "missing.bin"}, "make firmware"),
        ({"--out": "nowhere/image.bin"}, "there is no folder"),
    ],
)
def test_sign_refuses_with_a_sentence_and_leaves_nothing(
    tmp_path, monkeypatch, capsys, change, says
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "p.bin").write_bytes(program_of("mps2"))
    (tmp_path / "picture.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(40))
    (tmp_path / "empty.bin").touch()
    (tmp_path / "other.bin").write_bytes(program_of("stm32f405"))
    companion.main(["firmware", "keygen", "k.pem"])
    given = {
        "program": "p.bin",
        "--target": "mps2",
        "--key": "k.pem",
        "--out": "i.bin",
        "--version": "1.0.0",
        **change,
    }
    argv = [given.pop("program"), *(word for pair in given.items() for word in pair)]
    before = {p: p.read_bytes() for p in tmp_path.iterdir()}
    assert companion.main(["firmware", "sign", *argv]) in (1, 2)
    assert says in capsys.readouterr().err
    assert {p: p.read_bytes() for p in tmp_path.iterdir()} == before


def test_a_key_that_is_none_says_what_it_is(tmp_path, capsys):
    private = Ed25519PrivateKey.generate()
    pem, pkcs8 = Encoding.PEM, PrivateFormat.PKCS8
    locked = private.private_bytes(pem, pkcs8, BestAvailableEncryption(b"x"))
    public = private.public_key().public_bytes(pem, PublicFormat.SubjectPublicKeyInfo)
    other = ec.generate_private_key(ec.SECP256R1()).private_bytes(pem, pkcs8, NoEncryption())
    wrong = {"password": locked, "public half": public, "no Ed25519": other, "no private": b""}
    for says, data in wrong.items():
        (tmp_path / "k.pem").write_bytes(data)
        with pytest.raises(ImageError, match=says):
            load_key(tmp_path / "k.pem")


def test_a_version_that_cannot_be_is_refused_before_anything_is_made(monkeypatch, capsys):
    monkeypatch.setattr(package, "build_arm", None)  # not even called
    for version in ("1", "../../../1.0.0", "256.0.0", "1.0.65536"):
        assert companion.main(["firmware", "build", "--target", "mps2", "--version", version]) == 1
        assert f"version {version}: give" in capsys.readouterr().err


def test_a_build_folder_that_cannot_be_written_says_so(monkeypatch, tmp_path):
    (tmp_path / "build").write_text("a file where the folder should be")
    monkeypatch.setattr(build, "build_root", lambda: tmp_path / "build" / "native")
    with pytest.raises(BuildError, match="build folder .*cannot be written.*XDG_CACHE_HOME"):
        build.build(build.Target("x", ("codec.c",)))


def test_a_release_refuses_the_development_key(capsys):
    assert companion.main(["firmware", "build", "--target", "mps2", "--release"]) == 2
    assert "development key" in capsys.readouterr().err


@needs_arm
@pytest.mark.parametrize("name", board_names())
def test_every_board_builds_and_is_signed(name, capsys):
    try:
        sources.library_source("libsodium")
    except BuildError as error:
        pytest.skip(str(error))
    assert companion.main(["firmware", "build", "--target", name]) == 0
    said = capsys.readouterr().out
    assert f"companion-{name}" in said and "DEVELOPMENT key" in said


@needs_arm
def test_without_the_libraries_the_application_is_built_and_the_loader_missed(monkeypatch, capsys):
    def nothing(name: str) -> object:
        raise BuildError(f"source of {name}: cannot be fetched")

    monkeypatch.setattr("firmware_bridge.arm_build.library_source", nothing)
    assert companion.main(["firmware", "build", "--target", "mps2"]) == 1
    said = capsys.readouterr().out
    assert (
        "application.bin" in said
        and "bootloader is missing" in said
        and "cannot be fetched" in said
    )


def test_a_source_of_another_hash_is_not_used(monkeypatch, tmp_path):
    package = tmp_path / "zcbor.whl"
    package.write_bytes(b"not what was pinned")
    monkeypatch.setattr(sources, "build_root", lambda: tmp_path / "build" / "native")
    monkeypatch.setattr(sources, "_download", lambda *_: package)
    with pytest.raises(BuildError, match="pinned is"):
        sources.library_source("zcbor")
    assert not list((tmp_path / "build" / "sources").glob("zcbor*"))


WRONG_BOARDS = [
    ("PB10", "PA8", "PA8 is given to"),
    ("[watchdog]", "[watchdogs]", "watchdogs"),
    ("polarity = -1", "polarity = 2", "polarity"),
    ('name = "mine"', 'name = "stm32f405"', 'write name = "mine"'),
    ("slots = [0x2_0000", "slots = [0x0", "the loader and slot 0 overlap"),
    ("slots = [0x2_0000", "slots = [0x4_0000", "slot 0 and slot 1 overlap"),
    ("slots = [0x2_0000", "slots = [0x2_1000", "no whole number of erase sectors"),
    ("0x4_0000]", "0xF0_0000]", "ends beyond the flash"),
    ("records = [0xC000", "records = [0x8000", "the loader and record 0 overlap"),
    (
        "records = [0xC000, 0x1_0000]",
        "records = [0xC000, 0xD000]",
        "no whole number of erase sectors",
    ),
    ('pin = "PC13"', "", "stop_input is present and has no pin"),
    ("[enable]", "[first_flash2]", "unknown field"),
    ('axes = ["x", "y"', 'axes = ["x", "-x"', "each of x, y, z once"),
    ('voltage = "PC4"', 'voltage = "PD4"', "battery.voltage = PD4"),
    ('"USART1"', '"USART2"', "can do USART1"),
    ('"SPI2"', '"SPI1"', "can do SPI2"),
    ('ring = "PB8"', 'ring = "PD12"', "can do PB8"),
    ("baud = 921_600", "baud = 5_000_000", "1 % off"),
    ("core_hz = 168", "core_hz = 100", "runs at 168000000"),
    ("hse_hz = 8_000", "hse_hz = 8_500", "whole MHz"),
    ("rc_hz = 16_000", "rc_hz = 8_000", "oscillator of 16000000"),
    ('"TIM2"', '"TIM5"', "can do TIM2, TIM3"),
    ('["PA0", "PA1"]', '["PA1", "PA0"]', "encoder_pins"),
    ('"TIM1_CH2"', '"TIM1_CH1"', "given to wheel_left and wheel_right"),
    ('"TIM8_CH1"', '"TIM1_CH3"', "timers of their own"),
    ('pwm_pin = "PC6"', 'pwm_pin = "PD6"', "head_yaw.pwm_pin"),
]


def mine(monkeypatch, tmp_path, old: str = "", new: str = "") -> None:
    """A newcomer's board: the reference, renamed, with one thing changed."""
    from firmware_bridge import board as module

    text = (module.BOARDS / "stm32f405.toml").read_text()
    text = text.replace('name = "stm32f405"', 'name = "mine"', 1)
    assert old in text
    (tmp_path / "mine.toml").write_text(text.replace(old, new, 1))
    (tmp_path / "stm32f405.toml").write_text((module.BOARDS / "stm32f405.toml").read_text())
    monkeypatch.setattr(module, "BOARDS", tmp_path)


@pytest.mark.parametrize(("old", "new", "says"), WRONG_BOARDS)
def test_a_wrong_board_file_is_refused_by_name(monkeypatch, tmp_path, old, new, says):
    mine(monkeypatch, tmp_path, old, new)
    with pytest.raises(BoardError, match=re.escape(says)):
        load_board("mine")


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("", "", "stm32f405 has the hardware id"),
        ('mcu = "stm32f405"', 'mcu = "stm32f407"', "no port"),
    ],
)
def test_a_board_with_anothers_id_or_no_port_is_not_built(
    monkeypatch, tmp_path, capsys, old, new, says
):
    mine(monkeypatch, tmp_path, old, new)
    table = load_body("companion").limit_table()
    with pytest.raises(BoardError, match=says):
        package.build_firmware(load_board("mine"), table, "1.0.0", DEVELOPMENT_KEY)


def test_a_board_that_lacks_what_the_body_asks_for_is_refused():
    import msgspec

    from firmware_bridge.board import check_body

    board: Board = msgspec.structs.replace(load_board("stm32f405"), range=None)
    with pytest.raises(BoardError, match="a range sensor"):
        check_body(board, load_body("companion").limit_table())


@pytest.mark.parametrize("data", [b"", b"hello", bytes(600), b"\x3d\xb8\xf3\x96" + bytes(700)])
def test_files_that_are_no_image_are_refused(tmp_path, data):
    file = tmp_path / "x.bin"
    file.write_bytes(data)
    with pytest.raises(ImageError):
        read_image(file)


@pytest.mark.parametrize("answer", [True, False])
def test_a_run_offers_the_flash_when_firmware_differs(monkeypatch, answer):
    """A real firmware process of another body answers at the port."""
    from firmware_bridge.errors import LinkError
    from firmware_bridge.host import HostFirmware
    from firmware_bridge.plant import Plant
    from tools import flash, start_checks

    table = load_body("companion").limit_table()
    other = dataclasses.replace(table, motion_ttl_ms=table.motion_ttl_ms + 1)
    firmware = HostFirmware(other, Plant.create())
    asked: list[str] = []

    def offer(_table: object, port: str, reason: str) -> bool:
        asked.append(f"{port} {reason}")
        return answer

    monkeypatch.setattr(flash, "offer", offer)
    setup = SimpleNamespace(
        settings=SimpleNamespace(firmware=firmware.port), body=load_body("companion")
    )
    try:
        if answer:
            start_checks.check_port(setup)
        else:
            with pytest.raises(LinkError, match="companion flash"):
                start_checks.check_port(setup)
        assert len(asked) == 1 and firmware.port in asked[0] and "another body" in asked[0]
    finally:
        firmware.stop()


def test_without_a_terminal_nobody_is_asked():
    from tools.flash import offer

    assert offer(load_body("companion").limit_table(), "/dev/null", "differs") is False


def test_a_body_with_brakes_wants_a_brake_line():
    import msgspec

    from firmware_bridge.board import check_body

    board = load_board("stm32f405")
    assert board.enable is not None
    board = msgspec.structs.replace(board, enable=msgspec.structs.replace(board.enable, brake=None))
    with pytest.raises(BoardError, match="a brake line"):
        check_body(board, load_body("companion").limit_table())
