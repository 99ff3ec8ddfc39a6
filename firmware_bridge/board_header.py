"""board_gen.h and linker scripts from a board file: what the C of loader and application knows of it."""

from __future__ import annotations

import re

from firmware_bridge.board import Board, JointWiring
from firmware_bridge.build import SOURCES

# STM32F4: which ADC input a pin is (datasheet, table "pin and ball definitions")
ADC_PORTS = {"A": range(0, 8), "B": range(0, 2), "C": range(0, 6)}
ADC_FIRST = {"A": 0, "B": 8, "C": 10}


def board_header(board: Board) -> str:
    """The whole header."""
    memory, nvm = board.memory, board.nvm
    lines = [
        f"/* Generated from boards/{board.name}.toml; do not edit. */",
        "#ifndef COMPANION_BOARD_GEN_H",
        "#define COMPANION_BOARD_GEN_H",
        "#include <stdint.h>",
        f'#define BOARD_HARDWARE "{board.hardware}"',
        *(
            f"#define {name} {value}u"
            for name, value in (
                ("BOARD_CORE_HZ", board.clock.core_hz),
                ("BOARD_HSE_HZ", board.clock.hse_hz),
                ("BOARD_RC_HZ", board.clock.rc_hz),
                ("BOARD_BAUD", board.link.baud),
                ("BOARD_WATCHDOG_MS", board.watchdog.timeout_ms),
            )
        ),
        *(
            f"#define {name} 0x{value:08X}u"
            for name, value in (
                ("BOARD_EXEC_BASE", memory.app_exec[0]),
                ("BOARD_EXEC_SIZE", memory.app_exec[1]),
                ("BOARD_HANDOFF", memory.handoff),
                ("BOARD_UID", memory.uid),
                ("NVM_BASE", nvm.base),
                ("NVM_SLOT_A", nvm.slots[0]),
                ("NVM_SLOT_B", nvm.slots[1]),
                ("NVM_SLOT_SIZE", nvm.slot_size),
                ("NVM_RECORD_A", nvm.records[0]),
                ("NVM_RECORD_B", nvm.records[1]),
                ("NVM_RECORD_SECTOR", 0x1000),
            )
        ),
    ]
    if memory.plant:
        lines.append(f"#define BOARD_PLANT 0x{memory.plant:08X}u")
    if not board.emulated:
        lines += _wiring(board)
    return "\n".join([*lines, "#endif", ""])


def linker_script(code: tuple[int, int], ram: tuple[int, int]) -> str:
    """The one linker script, for one image."""
    text = (SOURCES / "mcu" / "link.ld.in").read_text()
    values = {"CODE_BASE": code[0], "CODE_SIZE": code[1], "RAM_BASE": ram[0], "RAM_SIZE": ram[1]}
    for name, value in values.items():
        text = text.replace(f"@{name}@", f"0x{value:08X}")
    return text


def pin_number(pin: str) -> int:
    """Port times sixteen plus pin: PB10 is 26."""
    return 16 * (ord(pin[1]) - ord("A")) + int(pin[2:])


def adc_channel(pin: str) -> int:
    """ADC12 input of a pin."""
    return ADC_FIRST[pin[1]] + int(pin[2:])


def _wiring(board: Board) -> list[str]:
    assert board.imu and board.battery and board.enable and board.inputs
    channels: list[int] = []

    def sample(pin: str) -> int:
        channels.append(adc_channel(pin))
        return len(channels) - 1

    joints = [_joint(joint, sample) for joint in board.joint]
    battery = (sample(board.battery.voltage), sample(board.battery.current))
    ranging = sample(board.range.pin) if board.range else -1
    pins = {
        "PIN_UART_TX": board.link.pins[0], "PIN_UART_RX": board.link.pins[1],
        "PIN_ENABLE": board.enable.pin, "PIN_LED": board.leds.ring,
        "PIN_IMU_CS": board.imu.cs, "PIN_IMU_SCK": board.imu.pins[0],
        "PIN_IMU_MISO": board.imu.pins[1], "PIN_IMU_MOSI": board.imu.pins[2],
    }  # fmt: skip
    if board.enable.brake:
        pins["PIN_BRAKE"] = board.enable.brake
    if board.stop_input.pin:
        pins["PIN_STOP"] = board.stop_input.pin
    numbers = {
        "BATTERY_VOLTAGE": battery[0], "BATTERY_CURRENT": battery[1],
        "BATTERY_UV_PER_COUNT": round(board.battery.voltage_mv_per_count * 1000),
        "BATTERY_UA_PER_COUNT": round(board.battery.current_ma_per_count * 1000),
        "BATTERY_CURRENT_ZERO": board.battery.current_zero_count,
        "RANGE_SAMPLE": ranging,
        "RANGE_K": board.range.k_mm_counts if board.range else 0,
        "RANGE_ZERO": board.range.zero_count if board.range else 0,
        "RANGE_MAX_MM": board.range.max_mm if board.range else 0,
    }  # fmt: skip
    axes = [re.fullmatch(r"(-?)([xyz])", axis) for axis in board.imu.axes]
    signed = [("xyz".index(a.group(2)), -1 if a.group(1) else 1) for a in axes if a]
    return [
        *(f"#define {name} {pin_number(pin)}" for name, pin in pins.items()),
        *(f"#define {name} {value}" for name, value in numbers.items()),
        f"#define BOARD_JOINTS {len(board.joint)}",
        f"#define BOARD_JOINT_ROWS {{{', '.join(joints)}}}",
        f"#define BOARD_ADC_CHANNELS {{{', '.join(map(str, channels))}}}",
        f"#define BOARD_SAMPLES {len(channels)}",
        f"#define IMU_AXES {{{', '.join(f'{{{i}, {s}}}' for i, s in signed)}}}",
        _list("CLIFF", board.inputs.cliff),
        _list("BUMPER", board.inputs.bumper),
    ]


def _list(name: str, pins: tuple[str, ...]) -> str:
    numbers = ", ".join(str(pin_number(p)) for p in pins) or "0"
    return f"#define {name}_PINS {{{numbers}}}\n#define {name}_COUNT {len(pins)}"


def _joint(joint: JointWiring, sample: object) -> str:
    """One row of `board_joint` (firmware/mcu/stm32_body.c), fields by name."""
    assert callable(sample)
    timer, channel = re.findall(r"\d+", joint.pwm)
    encoder = re.findall(r"\d+", joint.encoder)
    fields = {
        "pwm_timer": int(timer), "pwm_channel": int(channel), "pwm_pin": pin_number(joint.pwm_pin),
        "current_sample": sample(joint.current),
        "ua_per_count": round(joint.current_ma_per_count * 1000),
        "current_zero": joint.current_zero_count,
        "polarity": joint.polarity, "encoder_sign": joint.encoder_sign,
    }  # fmt: skip
    if joint.direction and joint.encoder_pins:
        fields |= {
            "direction_pin": pin_number(joint.direction), "encoder_timer": int(encoder[0]),
            "encoder_pin_a": pin_number(joint.encoder_pins[0]),
            "encoder_pin_b": pin_number(joint.encoder_pins[1]),
            "counts_per_turn": joint.encoder_counts_per_turn,
            "gain_p": joint.gain_p, "gain_i": joint.gain_i,
        }  # fmt: skip
    if joint.position:
        fields |= {
            "position_sample": sample(joint.position),
            "urad_per_count": joint.position_urad_per_count,
            "position_zero": joint.position_zero_count,
            "pulse_ns_per_mrad": joint.pulse_ns_per_mrad,
        }
    return "{" + ", ".join(f".{name} = {value}" for name, value in fields.items()) + "}"
