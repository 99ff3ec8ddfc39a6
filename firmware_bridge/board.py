"""A board is one file, `firmware/boards/NAME.toml`: MCU, clocks, pins, memory, flash, polarities.

From it come the C header `board_gen.h` and the linker scripts of loader and application; the body's
limits stay the body file's. Pins and timers are strings as a schematic names them ("PB10", "TIM2").
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import msgspec

from firmware_bridge.board_checks import check_board
from firmware_bridge.errors import BoardError
from firmware_bridge.limits import JointCommand, LimitTable

BOARDS = Path(__file__).parent / "firmware" / "boards"

Pin = Annotated[str, msgspec.Meta(pattern=r"^P[A-I]([0-9]|1[0-5])$")]
Region = tuple[int, int]  # address, bytes
Sign = Literal[1, -1]


class Strict(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Base of every section: unknown keys are refused by name."""


class Clock(Strict, frozen=True, kw_only=True):
    """Core clock, crystal, the oscillator it starts on, and what the free-running microsecond counter is."""

    core_hz: int
    tick_us: str
    hse_hz: int = 0
    rc_hz: int = 0


class LinkPort(Strict, frozen=True, kw_only=True):
    """The UART of the link, and the USB bridges (VID:PID) it is sold with."""

    uart: str
    baud: int
    pins: tuple[Pin, ...] = ()
    usb_ids: tuple[Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{4}:[0-9a-f]{4}$")], ...] = ()


class Watchdog(Strict, frozen=True, kw_only=True):
    """Hardware watchdog period."""

    timeout_ms: Annotated[int, msgspec.Meta(ge=10, le=2000)]


class MemoryMap(Strict, frozen=True, kw_only=True):
    """Where loader and application live; images run from RAM at `app_exec`."""

    boot_flash: Region
    boot_ram: Region
    app_exec: Region
    app_ram: Region
    handoff: int
    uid: int  # 12 bytes that no other chip has
    plant: int = 0  # 0: a variable of the application


class Nvm(Strict, frozen=True, kw_only=True):
    """Slots and boot records as offsets from `base`, whole erase sectors each."""

    base: int
    sector: int
    slots: tuple[int, int]
    slot_size: int
    records: tuple[int, int]


class StopInput(Strict, frozen=True, kw_only=True):
    """The normally-closed stop input."""

    present: bool
    pin: Pin | None = None


class LedRing(Strict, frozen=True, kw_only=True):
    """Data pin of the ring, or `plant`."""

    ring: str


class ImuWiring(Strict, frozen=True, kw_only=True):
    """SPI port, chip select, and which chip axis stands for x, y, z of the IMU frame."""

    spi: str
    pins: tuple[Pin, Pin, Pin]
    cs: Pin
    axes: tuple[str, str, str]


class BatteryWiring(Strict, frozen=True, kw_only=True):
    """Battery gauge by ADC."""

    voltage: Pin
    voltage_mv_per_count: float
    current: Pin
    current_ma_per_count: float
    current_zero_count: int


class RangeWiring(Strict, frozen=True, kw_only=True):
    """Analogue range sensor: mm = k / (count - zero)."""

    pin: Pin
    k_mm_counts: int
    zero_count: int
    max_mm: int


class InputWiring(Strict, frozen=True, kw_only=True):
    """Switches to ground: low is pressed, or no floor."""

    cliff: tuple[Pin, ...] = ()
    bumper: tuple[Pin, ...] = ()


class Enable(Strict, frozen=True, kw_only=True):
    """The line that powers every motor driver, and spring-applied wheel brakes where there are some."""

    pin: Pin
    brake: Pin | None = None  # high lets them go


class JointWiring(Strict, frozen=True, kw_only=True):
    """One joint: a wheel with bridge and encoder, or a servo with analogue feedback."""

    name: str
    pwm: Annotated[str, msgspec.Meta(pattern="^TIM[0-9]+_CH[1-4]$")]
    pwm_pin: Pin
    current: Pin
    current_ma_per_count: float
    current_zero_count: int
    polarity: Sign
    encoder_sign: Sign
    direction: Pin | None = None
    encoder: str = ""
    encoder_pins: tuple[Pin, ...] = ()
    encoder_counts_per_turn: int = 0
    gain_p: int = 0  # wheels: thousandths of full duty per rad/s of error
    gain_i: int = 0  # and per rad
    position: Pin | None = None
    position_urad_per_count: int = 0
    position_zero_count: int = 0
    pulse_ns_per_mrad: int = 0


class FirstFlash(Strict, frozen=True, kw_only=True):
    """How a blank chip is written: the ROM's id of it, and what stm32loader and pyocd call it."""

    chip: int
    family: str
    probe: str


class Board(Strict, frozen=True, kw_only=True):
    """A whole board file."""

    schema: Literal[1]
    name: str
    hardware: Annotated[str, msgspec.Meta(min_length=4, max_length=32)]
    mcu: str
    cpu: Literal["cortex-m4"]
    clock: Clock
    link: LinkPort
    watchdog: Watchdog
    memory: MemoryMap
    nvm: Nvm
    stop_input: StopInput
    leds: LedRing
    imu: ImuWiring | None = None
    battery: BatteryWiring | None = None
    range: RangeWiring | None = None
    inputs: InputWiring | None = None
    enable: Enable | None = None
    first_flash: FirstFlash | None = None
    joint: tuple[JointWiring, ...] = ()

    @property
    def emulated(self) -> bool:
        """The twin is its body: nothing is wired."""
        return not self.joint


def board_names() -> list[str]:
    """Every board there is a file of."""
    return sorted(path.stem for path in BOARDS.glob("*.toml"))


def load_board(name: str) -> Board:
    """A board by name; BoardError says what is wrong with its file."""
    path = BOARDS / f"{name}.toml"
    if not path.is_file():
        raise BoardError(f"no board {name}: known are {', '.join(board_names())}")
    try:
        board = msgspec.toml.decode(path.read_bytes(), type=Board)
    except (msgspec.ValidationError, msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BoardError(f"board file {path.name}: {error}; mend the file") from error
    check_board(board, name)
    return board


def check_body(board: Board, table: LimitTable) -> None:
    """BoardError where the body asks for something the board does not have."""
    if board.emulated:
        return
    wired = [j.name for j in board.joint]
    names = [j.name for j in table.joints]
    lacks = []
    if wired != names:
        lacks.append(f"joints {', '.join(names)} in that order (wired: {', '.join(wired)})")
    for joint, spec in zip(board.joint, table.joints, strict=False):
        wheel = spec.command is JointCommand.VELOCITY
        if wheel and not (joint.encoder and joint.direction):
            lacks.append(f"encoder and direction of {joint.name}")
        if not wheel and joint.position is None:
            lacks.append(f"position of {joint.name}")
    inputs = board.inputs or InputWiring()
    lacks += ["a range sensor"] if table.has_range and board.range is None else []
    lacks += ["a bumper"] if table.has_bumper and not inputs.bumper else []
    lacks += [f"{table.cliffs} cliff sensors"] if table.cliffs != len(inputs.cliff) else []
    unbraked = board.enable is None or board.enable.brake is None
    lacks += ["a brake line for the wheels"] if table.wheel_brake and unbraked else []
    lacks += ["a stop input"] if table.has_stop and not board.stop_input.present else []
    if lacks:
        raise BoardError(
            f"board {board.name} cannot carry body {table.body}: it lacks {'; '.join(lacks)}; "
            "wire them in the board file, or build for another body"
        )
