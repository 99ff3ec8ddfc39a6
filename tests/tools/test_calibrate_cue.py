"""The robot's own LED as a cue, through the real firmware."""

import threading
import time
from collections.abc import Iterator

import pytest

from firmware_bridge.host import HostFirmware
from firmware_bridge.plant import Plant
from runtime.body import load_body
from tools import companion
from tools.calibrate.cue import open_cue

TABLE = load_body("companion").limit_table()


@pytest.fixture
def board() -> Iterator[tuple[str, Plant]]:
    plant = Plant.create()
    firmware = HostFirmware(TABLE, plant)
    yield firmware.port, plant
    firmware.stop()
    plant.close()


class Watch:
    """Looks at the ring: every brightness that it had, in order."""

    def __init__(self, plant: Plant) -> None:
        self.seen: list[int] = []
        self._plant, self._over = plant, threading.Event()
        self._thread = threading.Thread(target=self._look)
        self._thread.start()

    def _look(self) -> None:
        while not self._over.is_set():
            now = int(self._plant.read_outputs().led_rgb.max())
            if not self.seen or self.seen[-1] != now:
                self.seen.append(now)
            time.sleep(0.002)

    def end(self) -> list[int]:
        self._over.set()
        self._thread.join()
        return self.seen


def test_the_ring_blinks_so_often_and_ends_bright(board) -> None:
    port, plant = board
    with open_cue(port, TABLE) as cue:
        bright = int(plant.read_outputs().led_rgb.max())
        watch = Watch(plant)
        cue.blink(2)
    seen = watch.end()
    dark = [v for v in seen if v < bright / 4]
    assert bright > 0 and len(dark) == 2 and seen[-1] == bright


def test_each_picture_of_a_recording_blinks(board, tmp_path, monkeypatch, capsys) -> None:
    port, plant = board
    from tools.calibrate.board_cameras import TwinSource

    left, real = [25], TwinSource.read

    def read(self):
        left[0] -= 1
        if left[0] < 0:
            raise KeyboardInterrupt
        time.sleep(0.05)
        return real(self)

    monkeypatch.setattr(TwinSource, "read", read)
    watch = Watch(plant)
    code = companion.main(["calibrate", "camera", "record", "--headless", "--out", str(tmp_path / "r"), "--port", port])  # fmt: skip
    seen = watch.end()
    views = len(list((tmp_path / "r").glob("view_*.png")))
    assert code == 3 and views >= 2
    assert sum(v < max(seen) / 4 for v in seen[seen.index(max(seen)) :]) == views


def test_no_board_is_a_sentence(tmp_path, capsys) -> None:
    code = companion.main(["calibrate", "camera", "record", "--headless", "--out", str(tmp_path / "r"), "--port", "/dev/null"])  # fmt: skip
    said = capsys.readouterr().err
    assert code == 1 and "/dev/null" in said and "Traceback" not in said
