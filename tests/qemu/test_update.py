"""Updates of the emulated board: trial, confirm, rollback, refusals, power cuts."""

from __future__ import annotations

import asyncio
import contextlib
import random
import threading
import time

import msgspec
import numpy as np
import pytest
from smpclient import SMPClient
from smpclient.generics import success
from smpclient.requests.image_management import ImageStatesRead, ImageStatesWrite
from smpclient.requests.os_management import EchoWrite, ResetWrite
from smpclient.transport.serial import Cobs, SMPSerialRawTransport

from firmware_bridge import update
from firmware_bridge.errors import UpdateError
from firmware_bridge.link import Link
from firmware_bridge.protocol import Mode, ResetCause, StateFlag
from firmware_bridge.serial_port import SerialTransport
from firmware_bridge.signing import DEVELOPMENT_KEY, generate_key, read_image, sign
from runtime.clock import now_ns, sleep_until

TRIAL = int(StateFlag.TRIAL)


def data_of(firmware, version: str) -> bytes:
    return firmware[version].image.read_bytes()


def start_trial(bench, data: bytes, digest: bytes, force: bool = False) -> None:
    with bench.update() as port:
        port.upload(data, lambda _: None)
        port.test(digest, force)
        port.reset()


def be_host(bench, table, seconds: float, until=lambda link: False) -> Link:
    """A host's link for so long, or until something holds; closed when it returns."""
    link = Link(SerialTransport(bench.qemu.port), table)
    end = time.monotonic() + seconds
    while time.monotonic() < end and not until(link):
        link.step(now_ns())
        sleep_until(now_ns() + 4_000_000)
    link.close()
    return link


def settled(seconds: float):
    """Holds when the link has been ready for so long."""
    since: list[float] = []

    def holds(link: Link) -> bool:
        if link.ready and not since:
            since.append(time.monotonic())
        return bool(since) and time.monotonic() - since[0] > seconds

    return holds


def confirmed(link: Link) -> bool:
    return link.ready and link.sensors_seq > 0 and not int(link.sensors["flags"][0]) & TRIAL


def digest_of(firmware, version: str) -> bytes:
    return read_image(firmware[version].image).sha256


def test_unmodified_smpclient_lists_uploads_tests_and_resets(bench, firmware):
    async def session() -> None:
        transport = SMPSerialRawTransport(mtu=1024, framing=Cobs(), baudrate=921600)
        async with SMPClient(transport, bench.qemu.port, timeout_s=10) as client:
            assert (await client.request(EchoWrite(d="are you there"))).r == "are you there"
            listed = await client.request(ImageStatesRead())
            assert success(listed) and [i.version for i in listed.images] == ["0.1.0"]
            async for _ in client.upload(data_of(firmware, "0.2.0")):
                pass
            listed = await client.request(ImageStatesRead())
            assert success(listed) and [i.version for i in listed.images] == ["0.1.0", "0.2.0"]
            assert success(await client.request(ImageStatesWrite(hash=listed.images[1].hash)))
            assert success(await client.request(ResetWrite()))

    bench.info()
    bench.quiet()
    asyncio.run(session())
    info = bench.info()
    assert info.trial and info.slot == 1 and info.reset_cause is ResetCause.SOFTWARE
    assert bench.running() == "0.2.0"


def test_a_healthy_application_confirms_itself(bench, firmware, table):
    start_trial(bench, data_of(firmware, "0.2.0"), digest_of(firmware, "0.2.0"))
    assert bench.info().trial
    link = be_host(bench, table, 20, confirmed)
    assert confirmed(link) and link.identity is not None and link.identity.version == "0.2.0"
    bench.power_cycle()
    assert bench.running() == "0.2.0" and not bench.info().trial


def test_without_confirmation_it_goes_back(bench, firmware):
    start_trial(bench, data_of(firmware, "0.2.0"), digest_of(firmware, "0.2.0"))
    assert bench.info().trial
    bench.power_cycle()
    info = bench.info()
    assert bench.running() == "0.1.0" and info.refused == "not confirmed" and info.refused_slot == 1


def test_an_image_that_hangs_goes_back_by_the_watchdog(bench, firmware, dead_image):
    start_trial(bench, dead_image.read_bytes(), read_image(dead_image).sha256)
    time.sleep(2.5)
    info = bench.info()
    assert bench.running() == "0.1.0" and info.refused == "not confirmed"
    assert info.reset_cause is ResetCause.WATCHDOG


def test_on_trial_nothing_is_uploaded(bench, firmware, table):
    start_trial(bench, data_of(firmware, "0.2.0"), digest_of(firmware, "0.2.0"))
    bench.info()
    with bench.update() as port, pytest.raises(UpdateError, match="on trial"):
        port.upload(data_of(firmware, "0.3.0"), lambda _: None)


@pytest.mark.parametrize("what", ["wrong key", "truncated", "downgrade", "wrong hardware"])
def test_refusals_have_names_and_leave_the_running_image(
    bench, firmware, board, table, tmp_path, what
):
    program = firmware["0.2.0"].program.read_bytes()
    bad = tmp_path / "bad.bin"
    key, hardware, version = DEVELOPMENT_KEY, board.hardware, "0.2.0"
    if what == "wrong key":
        key = tmp_path / "other.pem"
        generate_key(key)
    if what == "wrong hardware":
        hardware = "companion-other"
    if what == "downgrade":
        version = "0.0.9"
        be_host(bench, table, 20, settled(2.5))  # 0.1.0 proves healthy: the floor
    sign(program, msgspec.structs.replace(board, hardware=hardware), version, key, bad)
    data = bad.read_bytes()
    data = data[:-40] if what == "truncated" else data
    before = bench.memory.read_slot(0)
    with bench.update() as port:
        port.upload(data, lambda _: None)
        with pytest.raises(UpdateError, match=what):
            port.test(read_image(bad).sha256)
        port.reset()
    info = bench.info()
    assert bench.running() == "0.1.0" and bench.memory.read_slot(0) == before
    assert what == "downgrade" or info.verdicts[1] == what


def test_a_downgrade_that_is_forced_runs(bench, firmware, board, table, tmp_path):
    be_host(bench, table, 20, settled(2.5))
    old = tmp_path / "old.bin"
    sign(firmware["0.1.0"].program.read_bytes(), board, "0.0.9", DEVELOPMENT_KEY, old)
    start_trial(bench, old.read_bytes(), read_image(old).sha256, force=True)
    assert bench.running() == "0.0.9"


def test_ten_corruptions_by_upload_are_refused(bench, firmware):
    rng = random.Random(3)
    good = data_of(firmware, "0.2.0")
    size = read_image(firmware["0.2.0"].image)
    signed = len(good) - 200
    places = [rng.randrange(32) for _ in range(3)] + [
        rng.randrange(signed, len(good)) for _ in range(3)
    ]
    places += [rng.randrange(32, signed) for _ in range(4)]
    for place in places:
        bad = bytearray(good)
        bad[place] ^= 1 << rng.randrange(8)
        with bench.update() as port:
            port.upload(bytes(bad), lambda _: None)
            with pytest.raises(UpdateError):
                port.test(size.sha256)
            assert [i.version for i in port.images()] == ["0.1.0"], place
    bench.power_cycle()
    assert bench.running() == "0.1.0"


def boots_valid(bench) -> bool:
    bench.power_cycle()
    info = bench.info()
    return info.application and info.verdicts[info.slot] == "ok"


BOARDS = 4  # of their own, five kills each: side by side where there are several workers


@pytest.mark.parametrize("seed", range(6, 6 + BOARDS))  # each cuts early and late
def test_kill_at_20_random_moments_of_an_upload(bench, firmware, monkeypatch, seed):
    """Power is cut in the middle; each time a valid image runs, and the next upload succeeds or is cut too."""
    monkeypatch.setattr(update, "RETRIES", 0)  # a board without power answers no retry either
    rng = random.Random(seed)
    broken = 0
    for attempt in range(20 // BOARDS):
        version = ("0.2.0", "0.3.0")[attempt % 2]
        cut = threading.Timer(rng.uniform(0.05, 2.5), bench.qemu.process.kill)
        try:
            with bench.update(1.0) as port:
                cut.start()
                port.upload(data_of(firmware, version), lambda _: None)
        except UpdateError:
            broken += 1  # its board was killed under it: that is the test
        cut.join()
        assert boots_valid(bench), attempt
    assert bench.running() == "0.1.0" and broken


def test_kill_at_20_random_moments_of_a_swap(bench, firmware):
    """Test, reset, trial boot: power is cut somewhere in it; afterwards the old image runs or the new one."""
    rng = random.Random(12)
    seen = set()
    for attempt in range(20):
        version = ("0.2.0", "0.3.0")[attempt % 2]
        info = bench.info()
        if info.trial:
            with bench.update() as port:
                port.confirm()
        bench.qemu.kill()
        bench.memory.write_slot(1 - info.slot, data_of(firmware, version))
        bench.power_cycle()
        bench.info()
        cut = threading.Timer(rng.uniform(0.0, 0.35), bench.qemu.process.kill)
        with contextlib.suppress(UpdateError), bench.update(0.5) as port:
            cut.start()
            port.test(digest_of(firmware, version), force=True)
            port.reset()
        if cut.ident is not None:
            cut.join()
        assert boots_valid(bench), attempt
        seen.add(bench.running())
    assert len(seen) > 1  # some were cut before, some after


def test_a_broken_upload_goes_on_where_it_was(bench, firmware):
    data = data_of(firmware, "0.2.0")
    seen: list[int] = []

    class Cut(Exception):
        pass

    def cut(done: int) -> None:
        seen.append(done)
        if done > 12_000:
            raise Cut

    with pytest.raises(Cut), bench.update() as port:
        port.upload(data, cut)
    again: list[int] = []
    with bench.update() as port:
        port.upload(data, again.append)
        assert again[0] >= seen[-1] > 12_000 and again[-1] == len(data)
        assert port.images()[-1].version == "0.2.0"


def test_refused_while_the_robot_is_active(bench, firmware, table):
    def armed(link: Link) -> bool:
        if link.ready and link.sensors_seq and int(link.sensors["mcu_mode"][0]) == Mode.SAFE:
            link.arm(now_ns(), Mode.ACTIVE)
        if link.ready:
            link.send_motion(now_ns(), np.zeros(len(table.joints), np.int16), 0xFFFF, 60)
        return int(link.sensors["mcu_mode"][0]) == Mode.ACTIVE

    bench.info()
    be_host(bench, table, 10, armed)
    bench.quiet()
    with bench.update() as port:
        with pytest.raises(UpdateError, match="active"):
            port.upload(data_of(firmware, "0.2.0"), lambda _: None)
        assert port.info().driving
    time.sleep(1.5)  # without its host it disarms by itself
    assert not bench.info().driving and bench.running() == "0.1.0"


def test_the_host_is_told_why_the_board_restarted(bench, firmware, board, table, dead_image):
    start_trial(bench, dead_image.read_bytes(), read_image(dead_image).sha256)
    time.sleep(2.5)
    link = be_host(bench, table, 15, lambda link: bool(link.log))
    assert link.log, (link.status, link.health, link.identity, bench.info())
    assert "watchdog" in link.log.popleft().text


def test_crashes_in_a_row_leave_the_loader_on_the_port(bench, board, dead_image):
    """A confirmed image that cannot run any longer: the loader keeps the port, and can be updated."""
    bench.qemu.kill()
    bench.memory.write_slot(0, dead_image.read_bytes())
    bench.power_cycle()
    time.sleep(4.5)
    info = bench.info()
    assert not info.application and info.reset_cause is ResetCause.WATCHDOG
