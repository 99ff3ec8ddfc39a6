import numpy as np
import pytest

pytest.importorskip("mujoco")

from firmware_bridge.lockstep import LockstepFirmware
from firmware_bridge.plant import Plant
from runtime.body import load_body
from tools.twin.direct import DirectDrive
from tools.twin.judge import judge
from tools.twin.process import TwinLoop
from tools.twin.task import Task
from tools.twin.truth import TRUTH
from tools.twin.twin import Twin

BODY = load_body("companion")
FRAMES = 400
MS = 1_000_000
FOLLOW = Task("follow", distance_m=1.2)


def follow(seed, act, frames=FRAMES):
    plant = Plant.create()
    twin, direct = Twin(BODY, seed, plant), DirectDrive(BODY, plant)
    truth = np.zeros(frames, TRUTH)
    actions = []
    for frame in range(frames):
        if frame % 2 == 0:
            twin.count_person()
        twin.truth(truth[frame])
        for _ in range(5):
            action = act(twin)
            actions.append(action)
            direct.act(action)
            twin.step_to(twin.now_ns + 10 * MS)
    return truth, np.array(actions)


@pytest.mark.parametrize("action", [(0, 0, 0, 0), (0.4, 0.4, 0, 0)])
def test_nobody_follows_blind(action):
    truth, _ = follow(0, lambda _twin: np.array(action, np.float32))
    assert not judge(truth, FOLLOW).success


def run_of(seconds=20, distance=1.2, px=500, bump=0):
    truth = np.zeros(seconds * 20, TRUTH)
    truth["t_ns"] = 5 * 10**9 + np.arange(len(truth)) * 50 * MS
    truth["distance_m"], truth["person_px"], truth["bump"] = distance, px, bump
    return truth


def first(share, key, value, start=0):
    truth = run_of()
    end = start + round((len(truth) - start) * share)
    truth[key][start:end] = value
    return truth


@pytest.mark.parametrize(
    ("truth", "success"),
    [
        (run_of(), True),
        (run_of(distance=2.15), True),
        (run_of(distance=2.25), False),
        (run_of(px=20), True),
        (run_of(px=19), False),
        (first(0.09, "distance_m", 3.0), True),
        (first(0.11, "distance_m", 3.0), False),
        (first(1.0, "person_px", 0, start=400), True),
        (first(0.15, "person_px", 0), True),  # all within the first 3 s
        (first(0.09, "person_px", 0, start=60), True),
        (first(0.11, "person_px", 0, start=60), False),
        (first(1.0, "bump", 1, start=399), False),
        (first(0.01, "bump", 1), False),
        (run_of()[:0], False),
    ],
)
def test_the_judge(truth, success):
    assert judge(truth, FOLLOW).success is success


def test_bumps_are_counted_once_each():
    truth = run_of()
    truth["bump"][10:20] = 1
    truth["bump"][30:31] = 1
    assert judge(truth, FOLLOW).metrics["bumps"] == 2


def test_firmware_that_is_not_armed_gets_sensors_and_gives_no_power():
    firmware = LockstepFirmware(BODY.limit_table())
    twin = Twin(BODY, 0, firmware.plant)
    before = twin.pose()
    for k in range(1, 100):
        firmware.run(firmware.clock_start_us + 2000 * k)
        twin.step_to(2 * MS * k)
    assert not twin.motors.enabled and firmware.plant.read_outputs().tick_count > 150
    assert firmware.plant.sensors["imu_seq"] > 90
    assert np.abs(np.subtract(twin.pose(), before)).max() < 0.002


class Recorded:
    """A channel's writing end that keeps what is published."""

    def __init__(self, dtype, hz):
        self.record = np.zeros((), dtype)
        self.row = type("Row", (), {"hz": hz})
        self.times = []

    def publish(self, t_ns):
        self.times.append(t_ns)


def test_the_real_time_loop_keeps_its_rates_and_does_not_race_after_a_stall():
    twin = Twin(BODY, 0, Plant.create(), start_ns=10**12)
    camera = Recorded(np.dtype([("number", "<u4"), ("pixels", "u1", (96, 128, 3))]), 20)
    truth = Recorded(TRUTH, 100)
    loop = TwinLoop(twin, camera, truth)
    for k in range(250):
        loop.step(10**12 + 2 * MS * k)
    assert 49 <= len(truth.times) <= 51 and len(camera.times) == 10
    assert camera.record["number"] == 10 and camera.record["pixels"].any()
    steps = twin.steps
    loop.step(10**12 + 5000 * MS)
    assert twin.steps - steps <= 2
    assert twin.now_ns == 10**12 + 5000 * MS
