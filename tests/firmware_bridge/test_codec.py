"""The C codec against the plain Python oracle, and both ends against noise."""

from __future__ import annotations

import ctypes
import struct

import numpy as np
import oracle
import pytest

from firmware_bridge import protocol
from firmware_bridge.codec import Decoder, Encoder
from firmware_bridge.dissect import dissect
from firmware_bridge.native import library
from firmware_bridge.protocol import MESSAGES, MOTION, Repeat

TYPES = {"B": "u1", "b": "i1", "H": "u2", "h": "i2", "I": "u4", "i": "i4", "Q": "u8"}
RANGES = {c: (int(np.iinfo(t).min), int(np.iinfo(t).max)) for c, t in TYPES.items()}


LONGEST = protocol.MAX_SMP + 2 + (protocol.MAX_SMP + 2) // 254 + 2  # FRAME_SIZE of codec.h


def scaled(values, scale) -> np.ndarray:
    """What C computes: float32 of the count, times a float32 scale."""
    return np.float32(values) * np.float32(scale)


def c_encode(body: bytes) -> bytes:
    out = ctypes.create_string_buffer(LONGEST)
    size = library().frame_encode(ctypes.create_string_buffer(body, len(body)), len(body), out)
    return out.raw[:size]


def c_decode(frame: bytes) -> bytes | None:
    out = ctypes.create_string_buffer(LONGEST)
    size = library().frame_decode(ctypes.create_string_buffer(frame, len(frame)), len(frame), out)
    return None if size < 0 else out.raw[:size]


def bodies(rng, count):
    for size in (1, 2, 5, 6, 7, 250, 251, 252):
        yield bytes(size)
        yield b"\xff" * size
    for _ in range(count):
        body = rng.integers(0, 256, int(rng.integers(1, 253)), np.uint8)
        body[rng.random(len(body)) < rng.random()] = 0
        yield body.tobytes()


def fields(rng, group):
    """Random values, extremes included, one list per field."""
    out = []
    for f in group:
        low, high = RANGES[f.code]
        draw = [low, high, 0, 1]
        out.append(
            [
                int(rng.choice(draw))
                if rng.random() < 0.2 and f.code != "Q"
                else int(rng.integers(low, min(high, 2**63 - 1), endpoint=True))
                for _ in range(f.count)
            ]
        )
    return out


def feed(decoder: Decoder, data: bytes, now_ns: int = 5) -> int:
    buffer = ctypes.create_string_buffer(data, len(data))
    return decoder.feed(ctypes.addressof(buffer), len(data), now_ns)


def test_crc_known_value():
    assert library().crc16_xmodem(b"123456789", 9) == 0x31C3


def test_frames_equal_the_oracle():
    rng = np.random.default_rng(1)
    for body in bodies(rng, 2000):
        frame = oracle.encode(body)
        assert c_encode(body) == frame
        assert len(frame) == len(body) + 4
        assert frame.count(0) == 1
        assert c_decode(frame[:-1]) == (body if len(body) else None)


def long_bodies(rng, count):
    """SMP frames: around every block boundary, with and without zeros there, and at random."""
    for blocks in range(1, 5):
        for size in range(254 * blocks - 4, 254 * blocks + 3):
            if size > protocol.MAX_SMP:
                continue
            yield b"\x55" * size
            for zero in (0, 1, 253, 254, 255, size // 2, size - 2, size - 1):
                body = bytearray(b"\x55" * size)
                body[min(zero, size - 1)] = 0
                yield bytes(body)
    for size in (protocol.MAX_SMP - 1, protocol.MAX_SMP):
        yield b"\x08" * size
        yield b"\x08" + bytes(size - 1)
    for _ in range(count):
        body = rng.integers(0, 256, int(rng.integers(253, protocol.MAX_SMP + 1)), np.uint8)
        body[rng.random(len(body)) < rng.choice([0.0, 0.002, 0.01, 0.3])] = 0
        yield body.tobytes()


def with_crc_of(size: int, last: int, rng) -> bytes:
    """A body without zeros, whose CRC's second byte is `last`: it decides how the frame ends."""
    while True:
        body = rng.integers(1, 256, size, np.uint8).tobytes()
        found = oracle.crc(body)
        if found & 0xFF == last and found >> 8:
            return body


def test_long_frames_equal_the_oracle():
    rng = np.random.default_rng(12)
    seen = set()
    for body in long_bodies(rng, 1500):
        frame = oracle.encode(body)
        assert c_encode(body) == frame
        assert len(frame) <= LONGEST
        assert frame.count(0) == 1
        assert c_decode(frame[:-1]) == body
        seen.add(len(frame) - len(body))
    assert seen == {4, 5, 6, 7, 8}


@pytest.mark.parametrize("blocks", [1, 2, 3, 4])
@pytest.mark.parametrize("last", [0, 1])
def test_frames_that_end_with_a_full_block_equal_the_oracle(blocks, last):
    """Body and CRC of exactly 254 bytes a block: the last code byte is where encoders differ."""
    rng = np.random.default_rng(blocks)
    for _ in range(3):
        body = with_crc_of(254 * blocks - 2, last, rng)
        frame = oracle.encode(body)
        assert c_encode(body) == frame
        assert c_decode(frame[:-1]) == body


def test_frames_beyond_the_longest_are_refused():
    body = b"\x08" * (protocol.MAX_SMP + 1)
    frame = oracle.encode(body)[:-1]
    assert oracle.decode(frame) is None
    out = ctypes.create_string_buffer(2 * LONGEST)
    data = ctypes.create_string_buffer(frame, len(frame))
    assert library().frame_decode(data, len(frame), out) < 0


def test_broken_long_frames_get_the_oracles_verdict():
    rng = np.random.default_rng(13)
    for body in long_bodies(rng, 300):
        frame = bytearray(oracle.encode(body)[:-1])
        for _ in range(int(rng.integers(1, 4))):
            at = int(rng.integers(0, len(frame)))
            if rng.random() < 0.7:
                frame[at] ^= 1 << int(rng.integers(0, 8))
            else:
                del frame[at]
        whole = bytes(frame[: LONGEST - 2])
        assert c_decode(whole) == oracle.decode(whole)


def test_long_frames_pass_through_the_mcus_splitter(rig):
    """SMP of any length up to the limit is heard whole; what is longer is counted and skipped."""
    rig.ready()
    before = rig.link.health.rx_bad + rig.link.health.rx_overrun
    rng = np.random.default_rng(14)
    for size in (8, 252, 253, 254, 255, 508, 1000, protocol.MAX_SMP):
        body = b"\x08" + rng.integers(0, 256, size - 1, np.uint8).tobytes()
        rig.firmware.receive(oracle.encode(body))
    rig.run(1100)
    assert rig.link.health.rx_bad + rig.link.health.rx_overrun == before
    rig.firmware.receive(oracle.encode(b"\x08" * (protocol.MAX_SMP + 200)))
    rig.run(1100)
    assert rig.link.health.rx_bad + rig.link.health.rx_overrun == before + 1
    assert rig.link.ready


def test_broken_frames_get_the_oracles_verdict():
    rng = np.random.default_rng(2)
    kept = 0
    for body in bodies(rng, 1500):
        frame = bytearray(oracle.encode(body)[:-1])
        for _ in range(int(rng.integers(1, 4))):
            kind = rng.random()
            at = int(rng.integers(0, len(frame)))
            if kind < 0.6:
                frame[at] ^= 1 << int(rng.integers(0, 8))
            elif kind < 0.8 and len(frame) > 1:
                del frame[at]
            else:
                frame.insert(at, int(rng.integers(1, 256)))
        verdict = c_decode(bytes(frame[:255]))
        assert verdict == oracle.decode(bytes(frame[:255]))
        if (
            body[0] >= protocol.SMP_LIMIT // 2
        ):  # leading zeros leave this CRC as it is: no type is 0
            kept += verdict is not None and verdict != body
    assert kept < 3  # a 16-bit CRC lets one in 65536 through


def test_motion_equals_the_oracle():
    rng = np.random.default_rng(3)
    for joints in (1, 6, 16):
        encoder = Encoder(joints)
        for count in range(300):
            (session,), (ttl,), (mask,) = fields(rng, MOTION.fields)
            target = rng.integers(-32768, 32768, joints).astype(np.int16)
            t_us = int(rng.integers(0, 2**32))
            wanted = oracle.message(
                MOTION, count & 0xFF, t_us, [[session], [ttl], [mask]], [[[int(v)]] for v in target]
            )
            got = encoder.motion(t_us, session | 0xABCD0000, ttl, mask, target)
            assert bytes(got) == wanted


@pytest.mark.parametrize(
    "message", [m for m in MESSAGES if not m.group and not m.to_host], ids=lambda m: m.name
)
def test_messages_to_the_mcu_equal_the_oracle(message):
    rng = np.random.default_rng(message.type)
    encoder = Encoder(6)
    for count in range(100):
        values = fields(rng, message.fields)
        flat = [v for value in values for v in value]
        got = encoder.message(message, 77, *flat)
        assert bytes(got) == oracle.message(message, count & 0xFF, 77, values)


@pytest.mark.parametrize("message", MESSAGES, ids=lambda m: m.name)
def test_every_message_reads_back_as_it_was_written(message, table):
    """The oracle's bytes through C framing and the tools' dissector, every field at random."""
    rng = np.random.default_rng(1000 + message.type)
    for count in range(60):
        fixed = fields(rng, message.fields)
        repeats = {Repeat.NONE: 0, Repeat.JOINTS: len(table.joints), Repeat.SAMPLES: 5}
        items = [fields(rng, message.group) for _ in range(repeats[message.repeat])]
        if message.repeat is Repeat.SAMPLES:
            fixed[0] = [5]
        raw = oracle.message(message, count, 99, fixed, items)
        body = oracle.decode(raw[:-1])
        assert c_encode(body) == raw and c_decode(raw[:-1]) == body
        frame = dissect(raw[:-1], table)
        assert (frame.name, frame.seq, frame.t_us) == (message.name.upper(), count, 99)
        assert frame.broken is None and frame.to_host == message.to_host
        written = [
            (f, values)
            for group, row in ((message.fields, fixed), *((message.group, i) for i in items))
            for f, values in zip(group, row, strict=True)
            if f.name != "pad"
        ]
        assert len(frame.readings) == len(written)
        for reading, (f, values) in zip(frame.readings, written, strict=True):
            plain = all(isinstance(v, int | float) for v in reading.values)
            if plain and f.scale not in (0.0, 1.0):
                assert np.allclose(reading.values, np.array(values) * f.scale, rtol=1e-12)
            elif plain and f.scale == 1.0 and f.unit not in ("us", "ns"):
                assert list(reading.values) == values


def test_sensors_equal_the_oracle(table):
    """Random IMU and STATE frames, cut at random places, into SI units."""
    rng = np.random.default_rng(4)
    decoder = Decoder(table)
    scale = [1e-4, 1e-4] + [joint.scale for joint in table.joints[2:]]
    for count in range(400):
        imu = fields(rng, protocol.IMU.fields)
        imu[0] = [5]
        samples = [fields(rng, protocol.IMU.group) for _ in range(5)]
        state = fields(rng, protocol.STATE.fields)
        joints = [fields(rng, protocol.STATE.group) for _ in range(6)]
        state[7] = [7]
        data = oracle.message(protocol.IMU, 2 * count & 0xFF, 1000, imu, samples)
        data += oracle.message(protocol.STATE, 2 * count + 1 & 0xFF, 9000, state, joints)
        cut = int(rng.integers(0, len(data)))
        feed(decoder, data[:cut])
        feed(decoder, data[cut:], 123_456_789)
        s = decoder.sensors[0]
        assert decoder.batches == count + 1
        assert s["t_ns"] == 123_456_789
        wanted = [123_456_789 - 8_000_000 + 1000 * item[0][0] for item in samples]
        assert s["imu_t_ns"].tolist() == wanted
        assert np.array_equal(s["accel_m_s2"], scaled([i[1] for i in samples], 0.005))
        assert np.array_equal(s["gyro_rad_s"], scaled([i[2] for i in samples], 1e-3))
        position = scaled([j[0][0] for j in joints], scale)
        assert np.array_equal(s["position_rad"][:6], position)
        assert np.array_equal(s["velocity_rad_s"][:6], scaled([j[1][0] for j in joints], 1e-3))
        assert np.array_equal(s["current_a"][:6], scaled([j[2][0] for j in joints], 1e-3))
        assert [int(s[n]) for n in ("mcu_mode", "motion_seq", "flags", "limited")] == [
            v[0] for v in state[:4]
        ]
        range_mm = state[4][0]
        assert s["range_m"] == (np.inf if range_mm == 0xFFFF else scaled(range_mm, 1e-3))
    assert decoder.record["bad"][0] == 0
    assert decoder.record["lost"][0] == 0


def test_other_messages_are_queued_whole(table):
    decoder = Decoder(table)
    rng = np.random.default_rng(6)
    slow = [m for m in MESSAGES if m.to_host and m.repeat is Repeat.NONE]
    for count in range(200):
        m = slow[count % len(slow)]
        data = oracle.message(m, count & 0xFF, 3, fields(rng, m.fields))
        assert feed(decoder, data, count + 1) == 1
        (taken,) = decoder.take()
        assert taken == (m.type, 3, count + 1, oracle.decode(data[:-1])[protocol.HEADER.size :])


def test_noise_between_frames_costs_only_itself(table):
    """Corrupt, cut and foreign bytes: every whole frame after a delimiter still comes through."""
    rng = np.random.default_rng(7)
    decoder = Decoder(table)
    stream = bytearray()
    whole = 0
    for count in range(2000):
        data = oracle.message(protocol.POWER, count & 0xFF, 3, fields(rng, protocol.POWER.fields))
        draw = rng.random()
        if draw < 0.1:
            stream += rng.integers(1, 256, int(rng.integers(1, 400)), np.uint8).tobytes() + b"\0"
        elif draw < 0.2:
            stream += data[: int(rng.integers(1, len(data) - 1))] + b"\0"
            continue
        stream += data
        whole += 1
    got = 0
    for at in range(0, len(stream), 97):
        feed(decoder, bytes(stream[at : at + 97]))
        got += len(decoder.take())
    assert got == whole
    assert decoder.record["bad"][0] + decoder.record["overrun"][0] > 200


def test_mcu_survives_noise(rig):
    """Random frames with good CRCs and random bytes: nothing crashes, nothing arms or moves."""
    rig.ready()
    rng = np.random.default_rng(8)
    kinds = [m.type for m in MESSAGES if m is not protocol.HELLO] + list(range(0, 256, 7))
    for _ in range(3000):
        size = int(rng.integers(0, 60))
        body = struct.pack("<BBI", int(rng.choice(kinds)), 0, int(rng.integers(0, 2**32)))
        rig.firmware.receive(oracle.encode(body + rng.integers(0, 256, size, np.uint8).tobytes()))
        rig.firmware.receive(rng.integers(0, 256, size, np.uint8).tobytes())
        if rng.random() < 0.02:
            rig.run(1)
        assert not rig.enabled
    rig.run(500)
    assert rig.wheels == [0, 0]
    assert rig.link.ready


def test_sizes_fit_one_block():
    for message in MESSAGES:
        most = {Repeat.NONE: 0, Repeat.JOINTS: 16, Repeat.SAMPLES: 5}[message.repeat]
        assert protocol.HEADER.size + message.size(most) <= protocol.MAX_BODY, message.name


def test_types_are_unique_and_above_smp():
    types = [m.type for m in MESSAGES]
    assert len(set(types)) == len(types)
    assert min(types) >= protocol.SMP_LIMIT


def test_smp_frames_are_left_alone(rig):
    rig.ready()
    bad = rig.link.health.rx_bad
    rig.firmware.receive(oracle.encode(b"\x0a\x00\x00\x01\x00\x00\x01\x00\xa0"))
    rig.run(1100)
    assert rig.link.health.rx_bad == bad
    assert rig.link.ready


def test_markdown_names_every_message():
    text = protocol.markdown()
    assert all(f"| {m.name.upper()} |" in text for m in MESSAGES)
