"""What is refused in a board file: a pin twice, flash areas that an erase would join, what the chip's port cannot do.

A key that the C of a port does not read would be a wish: the port's fixed choices stand here, next to the
pins that the chip can connect to them (STM32F405 datasheet, "alternate function mapping").
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec

from firmware_bridge.errors import BoardError

if TYPE_CHECKING:
    from firmware_bridge.board import Board, JointWiring


@dataclass(frozen=True, slots=True)
class Chip:
    """What the port of a chip can do; `sectors` are its flash's erase units from `flash` on."""

    core_hz: int
    rc_hz: int
    uart: str
    uart_hz: int
    uart_pins: tuple[str, str]
    imu_spi: str
    imu_pins: tuple[str, str, str]
    ring: str
    adc: str
    pwm: dict[str, str] = field(default_factory=dict)
    encoders: dict[str, tuple[str, str]] = field(default_factory=dict)
    flash: int = 0
    sectors: tuple[int, ...] = ()


CHIPS = {
    "stm32f405": Chip(
        core_hz=168_000_000, rc_hz=16_000_000, uart="USART1", uart_hz=84_000_000, uart_pins=("PA9 PB6", "PA10 PB7"),
        imu_spi="SPI2", imu_pins=("PB10 PB13", "PB14 PC2", "PB15 PC3"), ring="PB8",
        adc="PA0 PA1 PA2 PA3 PA4 PA5 PA6 PA7 PB0 PB1 PC0 PC1 PC2 PC3 PC4 PC5",
        pwm={
            "TIM1_CH1": "PA8 PE9", "TIM1_CH2": "PA9 PE11", "TIM1_CH3": "PA10 PE13", "TIM1_CH4": "PA11 PE14",
            "TIM8_CH1": "PC6 PI5", "TIM8_CH2": "PC7 PI6", "TIM8_CH3": "PC8 PI7", "TIM8_CH4": "PC9 PI2",
        },
        encoders={"TIM2": ("PA0 PA5 PA15", "PA1 PB3"), "TIM3": ("PA6 PB4 PC6", "PA7 PB5 PC7")},
        flash=0x0800_0000, sectors=(*[0x4000] * 4, 0x1_0000, *[0x2_0000] * 7),
    ),
}  # fmt: skip


def check_board(board: Board, file_name: str) -> None:
    """BoardError with the first thing that is wrong."""
    if board.name != file_name:
        raise BoardError(
            f'board file {file_name}.toml: its name is "{board.name}"; write name = "{file_name}", '
            "and a hardware id of its own"
        )
    chip = CHIPS.get(board.mcu)
    for wrong in (*_pins_twice(board), *_nvm(board, chip), *_wired(board, chip)):
        raise BoardError(f"board {board.name}: {wrong}")


def _pins_twice(board: Board) -> Iterator[str]:
    """One pin, one purpose."""
    seen: dict[str, str] = {}
    for place, pin in _pins(msgspec.to_builtins(board), ""):
        if pin in seen:
            yield f"{pin} is given to {seen[pin]} and {place}; use another pin"
        seen[pin] = place


def _pins(value: object, place: str) -> list[tuple[str, str]]:
    if isinstance(value, str):
        return [(place, value)] if re.fullmatch(r"P[A-I]\d{1,2}", value) else []
    if isinstance(value, dict):
        return [
            found for key, v in value.items() for found in _pins(v, f"{place}.{key}".lstrip("."))
        ]
    if isinstance(value, (list, tuple)):
        return [found for i, v in enumerate(value) for found in _pins(v, f"{place}[{i}]")]
    return []


def _nvm(board: Board, chip: Chip | None) -> Iterator[str]:
    """Slots and records: whole sectors, in the flash, none shared with another or the loader."""
    nvm = board.nvm
    record = 0x1000  # boot/slots.c erases as much as holds it
    areas = [(f"slot {i}", nvm.base + o, nvm.slot_size) for i, o in enumerate(nvm.slots)]
    areas += [(f"record {i}", nvm.base + o, record) for i, o in enumerate(nvm.records)]
    whole = [("the loader", *board.memory.boot_flash)] if chip else []
    for name, start, size in areas:
        found = _sectors(board, chip, start, size)
        if not found:
            yield f"{name} at {start - nvm.base:#x} ends beyond the flash; move it"
            continue
        if found[0] != start or (name.startswith("slot") and found[1] != size):
            yield f"{name} at {start - nvm.base:#x} is no whole number of erase sectors; move it"
        whole.append((name, *found))
    for i, (name, start, size) in enumerate(whole):
        for other, at, length in whole[i + 1 :]:
            if start < at + length and at < start + size:
                yield (
                    f"nvm: {name} and {other} overlap: an erase of one would take the other; "
                    "give each sectors of its own"
                )


def _sectors(board: Board, chip: Chip | None, start: int, size: int) -> tuple[int, int] | None:
    """What an erase of this area really erases: start and bytes; None outside the flash."""
    if chip is None or not chip.sectors:
        step = min(board.nvm.sector, size)
        first = start - (start - board.nvm.base) % step
        return first, -(-(start + size - first) // step) * step
    first, end, at = 0, 0, chip.flash
    for length in chip.sectors:
        if at <= start < at + length:
            first = at
        if at < start + size <= at + length:
            end = at + length
        at += length
    return (first, end - first) if first and end else None


def _wired(board: Board, chip: Chip | None) -> Iterator[str]:
    """Everything a port of a real chip reads, and only what it can do."""
    if board.emulated or chip is None:
        return
    lacks = [s for s in ("imu", "battery", "inputs", "enable") if getattr(board, s) is None]
    if lacks:
        yield f"the section {lacks[0]} is missing; the port of {board.mcu} needs it"
        return
    if board.stop_input.present and board.stop_input.pin is None:
        yield "stop_input is present and has no pin; give it one"
    yield from _clock(board, chip)
    assert board.imu and board.battery
    fixed = [
        ("link.uart", board.link.uart, chip.uart), ("imu.spi", board.imu.spi, chip.imu_spi),
        ("leds.ring", board.leds.ring, chip.ring),
    ]  # fmt: skip
    fixed += zip(("link.pins[0]", "link.pins[1]"), board.link.pins, chip.uart_pins, strict=False)
    fixed += zip(("SCK", "MISO", "MOSI"), board.imu.pins, chip.imu_pins, strict=True)
    fixed += [(place, pin, chip.adc) for place, pin in _analogue(board)]
    for joint in board.joint:
        fixed += _joint(joint, chip)
    yield from _timers(board)
    for place, given, possible in fixed:
        if possible and given not in possible.split():
            yield f"{place} = {given}: the port of {board.mcu} can do {possible.replace(' ', ', ')} there"
    if len(board.link.pins) != 2:
        yield "link.pins: give TX and RX"
    axes = [re.fullmatch(r"-?([xyz])", axis) for axis in board.imu.axes]
    if {a.group(1) for a in axes if a} != set("xyz"):
        yield f'imu.axes = {", ".join(board.imu.axes)}: give each of x, y, z once, "-x" for turned'


def _clock(board: Board, chip: Chip) -> Iterator[str]:
    hse, baud = board.clock.hse_hz, board.link.baud
    if board.clock.core_hz != chip.core_hz:
        yield f"clock.core_hz: the port of {board.mcu} runs at {chip.core_hz}"
    if board.clock.rc_hz != chip.rc_hz:
        yield f"clock.rc_hz: the {board.mcu} starts on an oscillator of {chip.rc_hz}"
    if hse and (hse % 1_000_000 or not 4_000_000 <= hse <= 26_000_000):
        yield f"clock.hse_hz = {hse}: give a crystal of 4 to 26 whole MHz, or 0 without one"
    real = chip.uart_hz / max(1, round(chip.uart_hz / max(baud, 1)))
    if not 0 < baud <= chip.uart_hz // 16 or abs(real / baud - 1) > 0.01:
        yield f"link.baud = {baud}: {board.link.uart} makes {real:.0f} of it, more than 1 % off"


def _timers(board: Board) -> Iterator[str]:
    """One channel per joint, and one frequency per timer: wheels and servos have different ones."""
    seen: dict[str, str] = {}
    kinds: dict[str, tuple[str, bool]] = {}
    for joint in board.joint:
        for used in filter(None, (joint.pwm, joint.encoder)):
            if used in seen:
                yield f"{used} is given to {seen[used]} and {joint.name}; use another"
            seen[used] = joint.name
        timer, wheel = joint.pwm.split("_")[0], bool(joint.encoder)
        other, other_wheel = kinds.setdefault(timer, (joint.name, wheel))
        if wheel != other_wheel:
            yield f"{timer} drives {other} and {joint.name}: wheels and servos need timers of their own"


def _analogue(board: Board) -> list[tuple[str, str]]:
    assert board.battery
    pins = [
        ("battery.voltage", board.battery.voltage),
        ("battery.current", board.battery.current),
        *((f"{j.name}.current", j.current) for j in board.joint),
        *((f"{j.name}.position", j.position) for j in board.joint if j.position),
    ]
    return pins + ([("range.pin", board.range.pin)] if board.range else [])


def _joint(joint: JointWiring, chip: Chip) -> Iterator[tuple[str, str, str]]:
    yield f"{joint.name}.pwm", joint.pwm, " ".join(chip.pwm)
    yield f"{joint.name}.pwm_pin", joint.pwm_pin, chip.pwm.get(joint.pwm, "")
    if joint.encoder:
        yield f"{joint.name}.encoder", joint.encoder, " ".join(chip.encoders)
        ways = chip.encoders.get(joint.encoder, ("", ""))
        pins = joint.encoder_pins if len(joint.encoder_pins) == 2 else ("none", "none")
        yield from ((f"{joint.name}.encoder_pins[{i}]", pins[i], ways[i]) for i in range(2))
