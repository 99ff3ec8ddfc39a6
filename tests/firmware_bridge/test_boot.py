"""The loader's judgement and its record, by the same C as on the board."""

from __future__ import annotations

import importlib.util
import random
import sys
from pathlib import Path

import cbor2
import pytest

from firmware_bridge.signing import generate_key

spec = importlib.util.spec_from_file_location("boot_host", Path(__file__).with_name("boot_host.py"))
assert spec and spec.loader
boot_host = importlib.util.module_from_spec(spec)
sys.modules["boot_host"] = boot_host
spec.loader.exec_module(boot_host)
Flash, signed = boot_host.Flash, boot_host.signed


@pytest.fixture
def flash():
    return Flash()


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    return {v: signed(folder, v) for v in ("0.1.0", "0.2.0", "0.3.0")}


def test_a_good_image_is_accepted(flash, images):
    flash.put(0, images["0.1.0"])
    assert flash.check(0) == "ok" and flash.check(1) == "empty"
    assert flash.boot() == "0.1.0"


def test_every_byte_of_header_and_trailer_counts(flash, images):
    """Every single-byte change, all 255 of each: none is accepted."""
    good = images["0.1.0"]
    end_of_body = 512 + 1024
    assert good[end_of_body : end_of_body + 2] == b"\x08\x69"  # the protected area begins there
    start = flash.board.nvm.slots[0]
    flash.put(0, good)
    for place in [*range(32), *range(end_of_body, len(good))]:
        for value in set(range(256)) - {good[place]}:
            flash.memory[start + place] = value
            assert flash.check(0) != "ok", (place, value)
        flash.memory[start + place] = good[place]
    assert flash.check(0) == "ok"


def test_200_changes_of_the_body_are_refused(flash, images):
    rng = random.Random(7)
    good = images["0.1.0"]
    for _ in range(200):
        place = rng.randrange(32, 512 + 1024)
        value = rng.choice([v for v in range(256) if v != good[place]])
        flash.put(0, good[:place] + bytes([value]) + good[place + 1 :])
        assert flash.check(0) == "bad hash", place


@pytest.mark.parametrize("cut", [1, 3, 33, 64, 100, 150, 204, 230, 700, 1500])
def test_truncated_images_are_called_so(flash, images, cut):
    flash.put(0, images["0.1.0"][:-cut])
    assert flash.check(0) == "truncated"


def test_other_hardware_key_and_address_have_names(flash, tmp_path):
    flash.put(0, signed(tmp_path, "0.1.0", hardware="companion-else"))
    assert flash.check(0) == "wrong hardware"
    generate_key(tmp_path / "own.pem")
    flash.put(0, signed(tmp_path, "0.1.1", key=tmp_path / "own.pem"))
    assert flash.check(0) == "wrong key"


def test_trial_confirm_and_rollback(flash, images):
    flash.put(0, images["0.1.0"])
    flash.confirm("0.1.0")
    flash.put(1, images["0.2.0"])
    assert flash.test(1) == "ok"
    assert flash.boot() == "0.2.0"  # on trial
    assert flash.boot() == "0.1.0"  # nobody confirmed
    _, record, _ = flash.choose()
    assert boot_host.VERDICTS[record.refused] == "not confirmed" and record.refused_slot == 1
    assert flash.test(1) == "ok" and flash.boot() == "0.2.0"
    flash.confirm("0.2.0")
    assert flash.boot() == "0.2.0"
    assert flash.test(0) == "downgrade" and flash.test(0, forced=True) == "ok"
    assert flash.boot() == "0.1.0" and flash.boot() == "0.2.0"


def test_a_damaged_active_image_falls_back_and_says_so(flash, images):
    flash.put(0, images["0.1.0"])
    flash.put(1, images["0.2.0"])
    flash.test(1)
    flash.boot()
    flash.confirm("0.2.0")
    flash.put(1, images["0.2.0"][:-1] + b"\0")
    assert flash.boot() == "0.1.0"
    _, record, _ = flash.choose()
    assert boot_host.VERDICTS[record.refused] == "bad signature"


def test_nothing_valid_stays_in_the_loader(flash):
    assert flash.boot() == "empty"


def test_power_cut_at_every_byte_of_every_record_write(flash, images):
    """Test, trial boot, confirm: cut at each byte written; afterwards a valid image boots, and the
    record is the one from before or the one from after."""
    flash.put(0, images["0.1.0"])
    flash.put(1, images["0.2.0"])
    flash.confirm("0.1.0")
    steps = (
        ("test", lambda: flash.test(1), {"0.1.0", "0.2.0"}),
        ("trial", flash.choose, {"0.1.0", "0.2.0"}),
        ("confirm", lambda: flash.lib.slots_confirm(boot_host.ctypes.byref(boot_host.Version(0, 2, 0, 0))), {"0.1.0", "0.2.0"}),
    )  # fmt: skip
    written = 0x1000 + 28
    for _, step, allowed in steps:
        before = bytes(flash.memory)
        for cut in [*range(0, 40), *range(40, 0x1000, 97), *range(0x1000 - 2, written + 1)]:
            flash.memory[:] = before
            flash.lib.nvm_host_cut_after(cut)
            step()
            flash.lib.nvm_host_cut_after(-1)
            assert flash.boot() in allowed
        flash.memory[:] = before
        step()


def test_random_flash_never_boots_and_never_crashes(flash):
    rng = random.Random(5)
    for _ in range(200):
        junk = bytearray(rng.randbytes(4096))
        junk[:4] = b"\x3d\xb8\xf3\x96"
        junk[8:10] = (512).to_bytes(2, "little")
        if rng.random() < 0.5:
            junk[4:8] = flash.board.memory.app_exec[0].to_bytes(4, "little")
            junk[10:12] = rng.randrange(64).to_bytes(2, "little")
            junk[12:16] = rng.randrange(4000).to_bytes(4, "little")
            junk[16:20] = (0x20).to_bytes(4, "little")
            junk[28:32] = bytes(4)
        flash.put(0, bytes(junk))
        assert flash.check(0) != "ok"


def ask(
    flash,
    op: int,
    group: int,
    command: int,
    body: object,
    application: bool = True,
    driving: bool = False,
):
    """One SMP request through the server; the reply's CBOR."""
    payload = cbor2.dumps(body) if body is not None else b""
    request = (
        bytes([op, 0])
        + len(payload).to_bytes(2, "big")
        + group.to_bytes(2, "big")
        + bytes([9, command])
        + payload
    )
    flash.server = getattr(flash, "server", None) or (boot_host.ctypes.c_uint8 * 4096)()
    state = boot_host.SmpState(application, driving, 0, 0, b"uid-uid-uid-")
    size = flash.lib.smp_handle(flash.server, boot_host.ctypes.byref(state), request, len(request))
    if not size:
        return None
    reply = bytes(flash.server)
    start = reply.index(bytes([op + 1, 0]) + (size - 8).to_bytes(2, "big"))
    return cbor2.loads(reply[start + 8 : start + size])


def test_the_server_refuses_while_driving_and_what_it_does_not_know(flash, images):
    flash.put(0, images["0.1.0"])
    assert ask(flash, 0, 0, 6, None) == {"buf_size": 1024, "buf_count": 1}
    assert "active" in ask(flash, 2, 1, 1, {"off": 0, "len": 10, "data": b"x"}, driving=True)["rsn"]
    assert "active" in ask(flash, 2, 0, 5, {}, driving=True)["rsn"]
    assert "active" in ask(flash, 0, 1, 0, {}, driving=True)["rsn"]
    assert ask(flash, 0, 66, 0, {}, driving=True)["verdicts"] == []
    assert ask(flash, 0, 7, 0, {})["rc"] == 8
    assert ask(flash, 2, 1, 1, [1, 2])["rc"] == 3
    assert (
        ask(flash, 2, 1, 1, {"off": 0, "len": 1 << 30, "data": b"x"})["rsn"]
        == "image does not fit a slot"
    )
    assert ask(flash, 2, 1, 1, {"off": 4, "data": b"x"})["rsn"] == "no upload has begun"
    assert ask(flash, 2, 1, 5, {"slot": 0})["rsn"] == "that slot is in use"
    info = ask(flash, 0, 66, 0, {})
    assert info["hardware"] == flash.board.hardware and info["verdicts"] == ["ok", "empty"]


def test_an_upload_out_of_order_is_told_where_to_go_on(flash, images):
    flash.put(0, images["0.1.0"])
    data = images["0.2.0"]
    assert ask(flash, 2, 1, 1, {"off": 0, "len": len(data), "data": data[:300]}) == {"off": 300}
    assert ask(flash, 2, 1, 1, {"off": 600, "data": data[600:700]}) == {"off": 300}
    assert ask(flash, 2, 1, 1, {"off": 300, "data": data[300:] + b"more"}) == {"off": 300}
    for at in range(300, len(data), 500):
        last = ask(flash, 2, 1, 1, {"off": at, "data": data[at : at + 500]})
    assert last == {"off": len(data)}
    assert [i["version"] for i in ask(flash, 0, 1, 0, {})["images"]] == ["0.1.0", "0.2.0"]
