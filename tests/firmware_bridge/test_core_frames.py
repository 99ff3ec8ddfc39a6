"""Frames as they come: whole, in pieces, of the wrong size, of no type."""

from __future__ import annotations

import pytest
from oracle import encode

from firmware_bridge import protocol
from firmware_bridge.protocol import MAX_BODY, Ack, Fault, Mode

OWN = [m for m in protocol.MESSAGES if not m.to_host and m not in (protocol.MOTION, protocol.ESTOP)]


def health(wire) -> dict[str, int]:
    wire.forget()
    while not wire.frames(protocol.HEALTH):
        wire.run(1)
    return wire.last(protocol.HEALTH)


def body(kind: int, seq: int, payload: bytes = b"") -> bytes:
    return bytes([kind, seq, 0, 0, 0, 0]) + payload


def test_a_frame_counts_when_its_last_byte_is_there(wire):
    wire.opened()
    frame = encode(body(protocol.ESTOP.type, wire.seq, b"\x02"))
    for cut in range(1, len(frame) - 1):
        wire.give(frame[:cut])
        wire.run(1)
        assert wire.latched == 0
        wire.give(b"\0")  # what was begun is broken, and ends here
    before = health(wire)["rx_bad"]
    wire.give(frame[:5])
    wire.give(frame[5:])
    wire.run(1)
    assert wire.latched == Fault.ESTOP
    assert health(wire)["rx_bad"] == before > 0


def test_frames_back_to_back_are_all_taken(wire):
    wire.opened()
    wire.give(
        b"".join(encode(body(protocol.ESTOP.type, wire.seq + i, bytes([i]))) for i in range(3))
    )
    wire.run(1)
    assert wire.fault["detail"] == 0


@pytest.mark.parametrize("message", OWN, ids=lambda m: m.name)
@pytest.mark.parametrize("change", [-1, 1])
def test_a_wrong_size_is_broken_and_not_obeyed(wire, message, change):
    wire.opened()
    before = health(wire)["rx_bad"]
    payload = bytes(message.size() + change)
    wire.beating = False
    wire.forget().give(encode(body(message.type, wire.seq, payload)))
    wire.seq += 1
    assert [f.fields for f in wire.frames(protocol.ACK)] == []
    assert wire.frames(protocol.HELLO_ACK) == wire.frames(protocol.SYNC_RSP) == []
    assert wire.frames(protocol.PARAM) == []
    assert health(wire)["rx_bad"] == before + 1


@pytest.mark.parametrize("size", [0, 1, 40, MAX_BODY - 6])
@pytest.mark.parametrize("kind", [0x20 + 0x1F, 0x77, 0xA3, 0xFF])
def test_a_type_that_is_none_is_broken_and_its_sequence_counts(wire, kind, size):
    wire.opened()
    before = health(wire)
    wire.beating = False
    wire.give(encode(body(kind, wire.seq + 2, b"\x01" * size)))
    wire.seq += 3
    after = health(wire)
    assert after["rx_bad"] == before["rx_bad"] + 1
    assert after["rx_lost"] == before["rx_lost"] + 2


@pytest.mark.parametrize("size", [MAX_BODY + 1, 600, 1024])
def test_longer_than_any_of_ours_is_broken_and_has_no_sequence(wire, size):
    wire.opened()
    before = health(wire)
    wire.beating = False
    wire.give(encode(b"\x77" * size))
    after = health(wire)
    assert after["rx_bad"] == before["rx_bad"] + 1
    assert after["rx_lost"] == before["rx_lost"]


@pytest.mark.parametrize("size", [1, 2, 5])
def test_shorter_than_a_header_is_broken_whatever_it_says(wire, size):
    wire.opened()
    before = health(wire)
    wire.beating = False
    wire.give(encode(bytes([protocol.ESTOP.type]) * size))
    assert health(wire)["rx_bad"] == before["rx_bad"] + 1
    assert wire.latched == 0


@pytest.mark.parametrize(("payload", "detail"), [(b"", 0), (b"\x02", 2), (b"\x03\x09\x09", 3)])
def test_a_stop_is_heard_whatever_its_payload(wire, payload, detail):
    wire.opened().give(encode(body(protocol.ESTOP.type, wire.seq, payload)))
    wire.run(1)
    assert wire.latched == Fault.ESTOP
    assert wire.fault["detail"] == detail


def test_the_first_frame_ever_lost_nothing(wire):
    wire.seq = 99
    wire.sync()
    wire.hello()
    assert health(wire)["rx_lost"] == 0


def test_a_sequence_counts_from_the_first_frame_that_is_no_hello(wire):
    wire.seq = 99
    wire.sync()
    wire.sync()
    wire.seq = 103
    wire.sync()
    wire.seq = 9
    wire.hello()
    assert health(wire)["rx_lost"] == 2


def test_answers_are_stamped_with_the_moment_the_bytes_came(wire):
    """Between two ticks, and never back in time."""
    wire.opened().forget()
    for late_us in (300, 700, 500):
        data = encode(body(protocol.SYNC_REQ.type, 0, bytes(8)))
        wire.lib.core_receive(wire.core, wire.mcu_us + late_us, data, len(data))
    start = wire.firmware.clock_start_us + wire.us
    assert [f.fields["rx_us"] - start for f in wire.frames(protocol.SYNC_RSP)] == [300, 700, 700]


def test_a_stop_that_comes_with_an_arm_wins(wire):
    wire.opened()
    assert wire.arm(Mode.ACTIVE) is Ack.OK
    wire.estop()
    assert wire.arm(Mode.ACTIVE) is Ack.LATCHED
    assert not wire.run(301).enabled
