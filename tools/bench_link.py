"""The link's share of a core: C decoder, a plain Python splitter, and MAVLink, in the same run.

The stream is what a real firmware core sends in a second: IMU batches (5 samples of 500 Hz) and
STATE at 100 Hz, SYNC_RSP at 50 Hz, POWER, FAULT and HEALTH, read once per control period.
"""

from __future__ import annotations

import binascii
import sys
import time
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import numpy as np

from firmware_bridge import protocol, telemetry
from firmware_bridge.codec import Decoder
from firmware_bridge.limits import LimitTable
from firmware_bridge.link import Link
from firmware_bridge.lockstep import LockstepFirmware
from firmware_bridge.memory import address
from firmware_bridge.protocol import HEADER, IMU, MESSAGES, STATE, Repeat
from firmware_bridge.transport import LockstepTransport
from runtime.body import load_body
from runtime.errors import ConfigError
from tools import bench
from tools.bench import Row

PERIOD_NS = 10_000_000
WARM_UP_NS = 6_000_000_000  # the clock is known, and SYNC has come down to its steady rate
GOAL_PERCENT = 1.0
AT_MOST = 0.33  # of a baseline; measured 0.12 and 0.18
BY_TYPE = {m.type: m for m in MESSAGES}


def record(table: LimitTable) -> list[bytes]:
    """One second of a firmware core's bytes, one read per control period."""
    firmware = LockstepFirmware(table)
    transport = LockstepTransport(firmware)
    link = Link(transport, table)
    chunks: list[bytes] = []
    read = transport.read_into

    def tap(buffer: memoryview) -> int:
        size = read(buffer)
        chunks.append(bytes(buffer[:size]))
        return size

    transport.read_into = tap  # type: ignore[method-assign]
    for t_ns in range(0, WARM_UP_NS + 1_000_000_000, PERIOD_NS):
        firmware.plant.sensors["imu_seq"] += 1
        firmware.plant.write_sensors()
        firmware.run(firmware.mcu_us(t_ns))
        link.step(t_ns)
    if not link.ready:
        raise ConfigError(
            "the firmware core opens no session; run `make firmware`, then try this again"
        )
    return chunks[-100:]


def c_decoder(table: LimitTable, chunks: list[bytes]) -> Callable[[], int]:
    """What `Link` does with the bytes of a second; returns the whole frames."""
    decoder = Decoder(table)
    stream = np.frombuffer(b"".join(chunks), np.uint8).copy()
    ends = np.cumsum([len(c) for c in chunks]).tolist()
    parse = {
        protocol.POWER.type: telemetry.parse_power,
        protocol.FAULT.type: telemetry.parse_fault,
        protocol.HEALTH.type: telemetry.parse_health,
        protocol.SYNC_RSP.type: protocol.SYNC_RSP.layout.unpack,
    }

    def run() -> int:
        at, before, start = address(stream), decoder.frames, 0
        for end in ends:
            if decoder.feed(at + start, end - start, 1):
                for kind, _, _, payload in decoder.take():
                    parse[kind](payload)
            start = end
        return decoder.frames - before

    return run


def python_splitter(table: LimitTable, chunks: list[bytes]) -> Callable[[], int]:
    """The same in plain Python: split, COBS, crc_hqx, struct, NumPy scales."""
    repeats = {Repeat.NONE: 0, Repeat.JOINTS: len(table.joints), Repeat.SAMPLES: 5}

    def run() -> int:
        count, rest = 0, b""
        for chunk in chunks:
            *frames, rest = (rest + chunk).split(b"\0")
            for frame in frames:
                plain = _uncobs(frame)
                if binascii.crc_hqx(plain[:-2], 0) != int.from_bytes(plain[-2:], "big"):
                    continue
                kind, _, _ = HEADER.unpack_from(plain)
                message = BY_TYPE[kind]
                assert len(plain) - HEADER.size - 2 == message.size(repeats[message.repeat])
                message.layout.unpack_from(plain, HEADER.size)
                if message.group:
                    group = np.frombuffer(plain[HEADER.size + message.layout.size : -2], "<i2")
                    group * np.float32(message.group[-1].scale or 1e-3)
                count += 1
        return count

    return run


def _uncobs(frame: bytes) -> bytes:
    plain, at = bytearray(), 0
    while at < len(frame):
        code = frame[at]
        plain += frame[at + 1 : at + code]
        at += code
        if code < 255 and at < len(frame):
            plain.append(0)
    return bytes(plain)


def mavlink(chunks: list[bytes], dialect: ModuleType) -> tuple[Callable[[], int], int]:
    """The same rates as MAVLink 2 messages of like size and content; its parser, and its frames."""
    sender = dialect.MAVLink(None)
    like: dict[int, Callable[[], Any]] = {
        # 63 bytes for our IMU batch of 74: one sample instead of five
        IMU.type: lambda: dialect.MAVLink_highres_imu_message(
            1, 0.1, 0.2, 9.81, 0.1, 0.2, 0.3, 1.0, 2.0, 3.0, 1013.0, 0.0, 100.0, 25.0, 8191
        ),
        # 64 bytes for our STATE of 64
        STATE.type: lambda: dialect.MAVLink_hil_state_quaternion_message(
            1, [1.0, 0.1, 0.2, 0.3], 0.1, 0.2, 0.3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14
        ),
        protocol.POWER.type: lambda: dialect.MAVLink_battery_status_message(
            0, 0, 0, 2500, [3700] * 10, 250, 100, 100, 80
        ),
        protocol.SYNC_RSP.type: lambda: dialect.MAVLink_timesync_message(123456789, 987654321),
    }
    status = dialect.MAVLink_sys_status_message
    out, count = [], 0
    for chunk in chunks:
        kinds = [_uncobs(f)[0] for f in chunk.split(b"\0") if f]
        messages = [like[k]() if k in like else status(*range(1, 14)) for k in kinds]
        out.append(b"".join(m.pack(sender) for m in messages))
        count += len(messages)
    receiver = dialect.MAVLink(None)
    receiver.robust_parsing = True

    def run() -> int:
        return sum(len(receiver.parse_buffer(chunk) or ()) for chunk in out)

    return run, count


def cpu_percent(sides: list[Callable[[], int]], sent: int) -> list[float]:
    """Median percent of a core that each takes for a second of stream, measured in turn."""
    took: list[list[float]] = [[] for _ in sides]
    for _ in range(bench.ROUNDS):
        for kept, run in zip(took, sides, strict=True):
            start = time.thread_time()
            count = run()
            kept.append((time.thread_time() - start) * 100)
            assert count == sent
    return [float(np.median(kept)) for kept in took]


def link() -> Iterator[Row]:
    """Percent of one core for the telemetry of one robot."""
    table = load_body("companion").limit_table()
    chunks = record(table)
    sent = sum(chunk.count(0) for chunk in chunks)
    ours, plain = c_decoder(table, chunks), python_splitter(table, chunks)
    ours()  # the first feed meets no sequence before it
    yield Row("link.frames", sent, "sent", "frames decoded", ours(), 1.0, sent)
    sides = [ours, plain]
    dialect = _dialect()
    if dialect is not None:
        theirs, count = mavlink(chunks, dialect)
        assert theirs() == count == sent
        sides.append(theirs)
    assert plain() == sent
    value, *baselines = cpu_percent(sides, sent)
    unit, samples = "% of a core", bench.ROUNDS
    yield Row("link.core", value, unit, "one percent", GOAL_PERCENT, 1.0, samples)
    names = ("plain Python splitter", "pymavlink, MAVLink 2 at the same rates and sizes")
    for short, name, found in zip(("python", "mavlink"), names, baselines, strict=False):
        yield Row(f"link.{short}", value, unit, name, found, AT_MOST, samples)


def _dialect() -> ModuleType | None:
    """The common messages of pymavlink; it is a baseline here and nothing else of the product uses it."""
    try:
        from pymavlink.dialects.v20 import common
    except ImportError:
        print(
            "bench link: no row beside pymavlink, which is not installed; `pip install pymavlink`",
            file=sys.stderr,
        )
        return None
    return common  # type: ignore[no-any-return]


def codec() -> Iterator[Row]:
    """One control period's frames (IMU batch and STATE) to SI units: C against Python."""
    table = load_body("companion").limit_table()
    period = next(c for c in record(table) if c.count(0) == 2)
    stream = np.frombuffer(period, np.uint8).copy()
    decoder, at, size = Decoder(table), address(stream), len(stream)
    plain = python_splitter(table, [period])
    assert plain() == 2
    value, baseline = bench.interleaved(lambda: decoder.feed(at, size, 1), plain, 200)
    yield Row(
        "codec.period",
        value,
        "us",
        "split, COBS, crc_hqx, struct in Python",
        baseline,
        0.2,
        bench.ROUNDS * 200,
    )
