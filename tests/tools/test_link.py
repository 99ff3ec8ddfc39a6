"""`companion link`: what it says of a real firmware process, a jumper, another rate, nobody."""

from __future__ import annotations

import io
import json
import os
import pty
import re
import termios
import threading
import time
import tty
from collections.abc import Iterator

import pytest

from firmware_bridge import protocol
from firmware_bridge.codec import Encoder
from firmware_bridge.dissect import Broken, Splitter, dissect
from firmware_bridge.host import HostFirmware
from firmware_bridge.link import Link, LockstepTransport
from firmware_bridge.lockstep import LockstepFirmware
from firmware_bridge.plant import Plant
from firmware_bridge.serial_port import SerialTransport
from runtime.body import load_body
from tools import companion, link_watch
from tools.link_port import Seen, Tap
from tools.link_stats import Tally, quantiles

TABLE = load_body("companion").limit_table()


class Cut(LockstepTransport):
    """Its first read that brings anything lacks the last bytes; the next one begins with them."""

    def __init__(self, firmware: LockstepFirmware, lack: int) -> None:
        super().__init__(firmware)
        self.lack, self.late = lack, b""

    def read_into(self, buffer: memoryview) -> int:
        data = self.late + self.firmware.transmit()
        at = len(data) - self.lack if data else 0
        self.late, self.lack = data[at:] if data else b"", 0 if data else self.lack
        buffer[:at] = data[:at]
        return at


@pytest.mark.parametrize("lack", range(0, 60, 7))
def test_a_line_said_at_the_handshake_arrives_whatever_read_it_is_cut_by(lack: int) -> None:
    """An MCU says why it restarted right behind HELLO_ACK."""
    firmware = LockstepFirmware(TABLE)
    link = Link(Cut(firmware, lack), TABLE)
    link.step(1_000_000)
    assert not link.log
    firmware.log(protocol.LogLevel.ERROR, "restarted by the watchdog")
    for ms in range(2, 8):
        link.step(ms * 1_000_000)
    assert link.session and [line.text for line in link.log] == ["restarted by the watchdog"]
    assert not link.status.bad


@pytest.fixture
def say(capsys: pytest.CaptureFixture[str]):
    def run(*argv: str) -> tuple[int, str, str]:
        try:
            code = companion.main(list(argv))
        except SystemExit as left:
            code = int(left.code or 0)
        return code, *capsys.readouterr()

    return run


@pytest.fixture
def port() -> Iterator[str]:
    plant = Plant.create()
    firmware = HostFirmware(TABLE, plant)
    yield firmware.port
    firmware.stop()
    plant.close()


@pytest.fixture
def echo() -> Iterator[str]:
    """A port whose TX and RX are joined."""
    master, slave = pty.openpty()
    tty.setraw(slave, termios.TCSANOW)
    ended = threading.Event()
    os.set_blocking(master, False)

    def join() -> None:
        while not ended.is_set():
            try:
                os.write(master, os.read(master, 4096))
            except BlockingIOError:
                time.sleep(0.001)

    thread = threading.Thread(target=join)
    thread.start()
    yield os.ttyname(slave)
    ended.set()
    thread.join()
    os.close(master)
    os.close(slave)


@pytest.fixture
def nobody(monkeypatch) -> Iterator[str]:
    monkeypatch.setattr("tools.link_port.WAIT_S", 0.4)
    monkeypatch.setattr("tools.link_loopback.WAIT_S", 0.4)
    master, slave = pty.openpty()
    yield os.ttyname(slave)
    os.close(master)
    os.close(slave)


def power(**broken: bytes) -> bytes:
    """A POWER frame as the MCU sends it."""
    values = (14_800, -250, 80, 0, 1234, 25, 0, 0, 0)
    return bytes(Encoder(1).message(protocol.POWER, 77, *values))[:-1]


# ── the verbs on a real firmware process ─────────────────────────────────────────────────


def test_stats_is_one_object(say, port: str) -> None:
    code, out, _ = say("link", "stats", "--port", port, "--duration", "1.3", "--json")
    found = json.loads(out)
    assert code == 0 and out.count("\n") == 1
    assert found["state"] == "ready" and "reason" not in found
    for name, hz in {"STATE": 100, "IMU": 100, "POWER": 5}.items():
        row = found["messages"][name]
        assert row["from_mcu"] and hz / 2 < row["hz"] < hz * 1.5
    assert not found["messages"]["HEARTBEAT"]["from_mcu"]
    assert (
        found["from_mcu"]["broken"] == found["from_mcu"]["lost"] == found["to_mcu"]["dropped"] == 0
    )
    assert found["from_mcu"]["share"] == pytest.approx(
        found["from_mcu"]["bytes_s"] / 92_160, abs=1e-4
    )
    trip = found["round_trip_us"]
    assert 0 < trip["min"] <= trip["median"] <= trip["p99"] and trip["samples"] > 20
    assert abs(found["clock"]["skew_ppm"]) < 5000 and found["mcu"]["rx_bad"] == 0


def test_stats_for_people_on_a_firmware_of_its_own(say) -> None:
    code, out, err = say("link", "stats", "--firmware", "host", "--duration", "1.2")
    assert code == 0 and err == ""
    assert out.startswith("host firmware at 921600 baud, ready\nMCU host, firmware ")
    for words in (
        "% of the port",
        "round trip",
        "MCU clock",
        "broken 0, lost 0",
        "MCU since boot: rx_ok",
    ):
        assert words in out


def test_watch_prints_every_message_by_name(say) -> None:
    code, out, _ = say("link", "watch", "--firmware", "host", "--duration", "1.3")
    assert code == 0
    for words in (
        r"> HELLO +major 1", r"< HELLO_ACK .*uid host", r"< IMU .*accel  0.000  0.000  9.810 m/s2",
        r"< STATE +mode SAFE, .*wheel_left: position  0.000 rad velocity  0.000 rad/s",
        r"< POWER +voltage  14.800 V, current  0.000 A, soc 80 %", r"< HEALTH +rx_ok \d+",
        r"< SYNC_RSP +host_t0 [\d.]+ s", r"> HEARTBEAT +session [0-9a-f]{8}, mode SAFE",
    ):  # fmt: skip
        assert re.search(words, out), words
    assert "BROKEN" not in out


def test_watch_only_some_with_their_bytes(say, port: str) -> None:
    code, out, _ = say("link", "watch", "--port", port, "--duration", "0.6", "--only", "state,POWER", "--raw")  # fmt: skip
    assert code == 0
    rows = out.splitlines()
    assert {r.split()[2] for r in rows[::2]} == {"STATE", "POWER"}
    for raw in rows[1::2]:
        data = bytes.fromhex(raw)
        assert data[-1] == 0 and dissect(data[:-1], TABLE).name in ("STATE", "POWER")


def test_watch_on_a_terminal_keeps_a_table(monkeypatch, say) -> None:
    monkeypatch.setattr(link_watch, "on_terminal", lambda: True)
    code, out, _ = say("link", "watch", "--firmware", "host", "--duration", "2")
    assert code == 0 and out.startswith("\x1b[2J\x1b[H")
    last = out.split("\x1b[H")[-1]
    assert "MCU host" in last and "ready" in last and "broken 0, lost 0" in last
    assert len(re.findall(r"< STATE ", last)) == 1
    assert re.search(r"< IMU +[\d.]+/s", last)


def test_loopback_passes_with_an_mcu(say, port: str) -> None:
    code, out, _ = say("link", "loopback", "--port", port, "--count", "50", "--json")
    found = json.loads(out)
    assert code == 0 and out.count("\n") == 1
    assert found["verdict"] == "PASS" and found["over"] == "MCU host"
    assert (found["asked"], found["lost"], found["wrong"], found["broken"]) == (50, 0, 0, 0)
    trip = found["round_trip_us"]
    assert 0 < trip["median"] <= trip["p99"] <= trip["max"] and trip["samples"] == 50


def test_loopback_over_a_jumper_says_so(say, echo: str) -> None:
    code, out, _ = say("link", "loopback", "--port", echo, "--count", "20")
    assert code == 0
    assert out.startswith(f"PASS  {echo} at 921600 baud, over TX-RX jumper")
    assert "take it off" in out


def test_stats_over_a_jumper_says_so(say, echo: str, monkeypatch) -> None:
    monkeypatch.setattr("tools.link_port.WAIT_S", 0.4)
    code, _, err = say("link", "stats", "--port", echo)
    assert code == 1 and "TX and RX are joined" in err


# ── what goes wrong ──────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("verb", ["stats", "watch", "loopback"])
def test_nobody_there_is_one_sentence(say, nobody: str, verb: str) -> None:
    code, out, err = say("link", verb, "--port", nobody)
    assert code == 1 and err.count("\n") == 1
    assert "no MCU of ours" in err or "check power and cable" in err


@pytest.mark.parametrize("verb", ["stats", "watch", "loopback"])
def test_a_busy_port_is_one_sentence(say, port: str, verb: str) -> None:
    owner = SerialTransport(port)
    try:
        code, _, err = say("link", verb, "--port", port)
    finally:
        owner.close()
    assert code == 1 and "busy" in err and err.count("\n") == 1


@pytest.mark.parametrize("verb", ["stats", "watch", "loopback"])
def test_another_rate_is_named(say, port: str, verb: str, monkeypatch) -> None:
    link = Link(SerialTransport(port), TABLE)
    end = time.monotonic() + 10
    while not link.session and time.monotonic() < end:
        link.step(time.monotonic_ns())
        time.sleep(0.01)
    link.close()
    monkeypatch.setattr("tools.link_port.WAIT_S", 0.6)
    monkeypatch.setattr("tools.link_loopback.WAIT_S", 0.6)
    raw = ("--raw",) if verb == "watch" else ()
    code, out, err = say("link", verb, "--port", port, "--baud", "115200", *raw)
    assert code == 1 and "is the rate right" in err and err.count("\n") == 1
    if verb == "watch":
        assert re.search(
            r"< BROKEN +(wrong CRC|a COBS code runs past its end|too short), \d+ bytes", out
        )


def test_another_schema_is_named(say, port: str, monkeypatch) -> None:
    crc = protocol.schema_crc()
    monkeypatch.setattr("tools.link_port.WAIT_S", 0.6)
    monkeypatch.setattr(protocol, "schema_crc", lambda: crc ^ 1)
    for verb in ("stats", "watch", "loopback"):
        code, _, err = say("link", verb, "--port", port)
        assert code == 1 and "companion flash" in err


class Lossy:
    """A port that swallows every tenth write and flips a bit of every seventh read."""

    def __init__(self, inner: SerialTransport) -> None:
        self.inner, self.writes, self.reads = inner, 0, 0

    def __getattr__(self, name: str):
        return getattr(self.inner, name)

    def write(self, data: memoryview) -> int:
        self.writes += 1
        return len(data) if self.writes % 10 == 9 else self.inner.write(data)

    def read_into(self, buffer: memoryview) -> int:
        size = self.inner.read_into(buffer)
        self.reads += size > 0
        if size and self.reads % 7 == 6:
            buffer[size // 2] ^= 4
        return size


def test_loopback_fails_on_a_lossy_wire(say, port: str, monkeypatch) -> None:
    monkeypatch.setattr(
        "tools.link_port.SerialTransport", lambda name, baud: Lossy(SerialTransport(name, baud))
    )
    monkeypatch.setattr("tools.link_loopback.REPLY_S", 0.05)
    code, out, _ = say("link", "loopback", "--port", port, "--count", "60")
    assert code == 1 and out.startswith("FAIL")
    assert "shorten the cable" in out
    assert int(re.search(r"(\d+) lost", out)[1]) >= 5  # type: ignore[index]


# ── frames laid open ─────────────────────────────────────────────────────────────────────


def test_a_frame_in_si_units() -> None:
    frame = dissect(power(), TABLE)
    assert (frame.name, frame.t_us, frame.to_host, frame.broken) == ("POWER", 77, True, None)
    assert link_watch.describe(frame) == (
        "voltage  14.800 V, current -0.250 A, soc 80 %, flags 0, used  1.234 Wh, temperature 25 degC"
    )


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        (power()[:-1], Broken.COBS), (power()[:3] + b"\x55" + power()[4:], Broken.CRC),
        (b"\x02\x05", Broken.SHORT), (b"\x01" * 1100, Broken.LONG),
        (bytes(Encoder(6).message(protocol.HELLO, 0, 1, 0, 1, 1))[:-1], None),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(raw: bytes, why: Broken | None) -> None:
    frame = dissect(raw, TABLE)
    assert frame.broken is why
    text = link_watch.line(Seen(2_500_000_000, True, frame), 0, True)
    assert text.startswith("   2.500 < ") and raw.hex(" ") in text
    assert ("BROKEN" in text) == (why is not None)
    assert why is None or why.value in text


def test_a_tally_counts_gaps_and_broken_frames() -> None:
    tally, encoder = Tally(), Encoder(1)
    frames = [bytes(encoder.message(protocol.FAULT, 1, 0, 0, 0, 0, 0)) for _ in range(300)]
    frames[5] = frames[5][:4] + b"\x77" + frames[5][5:]
    kept = frames[:10] + frames[13:]
    for frame in Splitter(TABLE).feed(b"".join(kept)):
        tally.add(Seen(0, True, frame))
    assert tally.broken_in == 1 and tally.lost_in == 4  # three left out, one broken
    assert tally.by_type[True, "FAULT"].count == 296
    assert quantiles([]) == {"samples": 0}


def test_a_splitter_survives_noise_without_an_end() -> None:
    splitter = Splitter(TABLE)
    for _ in range(100):
        assert list(splitter.feed(b"\x55" * 1000)) == []
    assert len(splitter._rest) < 5000
    last = list(splitter.feed(b"\0" + power() + b"\0"))
    assert last[-1].name == "POWER"


def test_a_tap_shows_both_ways_and_changes_nothing() -> None:
    sent = io.BytesIO()

    class Port:
        def read_into(self, buffer: memoryview) -> int:
            data = power() + b"\0"
            buffer[: len(data)] = data
            return len(data)

        def write(self, data: memoryview) -> int:
            return sent.write(data)

    tap = Tap(Port(), TABLE)  # type: ignore[arg-type]
    hello = Encoder(1).message(protocol.HELLO, 0, 1, 0, 1, 1)
    assert tap.write(hello) == len(hello) and sent.getvalue() == bytes(hello)
    tap.read_into(memoryview(bytearray(100)))
    assert [(s.from_mcu, s.frame.name) for s in tap.take()] == [(False, "HELLO"), (True, "POWER")]
    assert tap.take() == []


@pytest.mark.parametrize(
    "words", [("stats", "--duration", "20"), ("loopback", "--count", "200000")]
)
def test_a_port_that_is_pulled_out_ends_it_with_a_sentence(say, words):
    plant = Plant.create()
    firmware = HostFirmware(TABLE, plant)
    timer = threading.Timer(1.5, firmware.kill)
    timer.start()
    code, _, err = say("link", *words, "--port", firmware.port)
    timer.join()
    plant.close()
    assert code == 1 and err.count("\n") == 1 and "went away after" in err


@pytest.mark.parametrize("fails", ["tcgetattr", "tcsetattr"])
def test_a_plug_that_bounces_while_it_is_opened_is_tried_again(monkeypatch, fails: str) -> None:
    """`termios.error` is no OSError: it went through the whole control loop."""
    ours, theirs = pty.openpty()
    transport = SerialTransport(os.ttyname(theirs))
    with monkeypatch.context() as broken:
        broken.setattr(termios, fails, raise_bounce)
        assert transport.reopen() is False and transport.fileno() is None
    assert transport.reopen() is True and transport.fileno() is not None
    transport.close()
    os.close(ours)
    os.close(theirs)


def raise_bounce(*_: object) -> None:
    raise termios.error(5, "Input/output error")
