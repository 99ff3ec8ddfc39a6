"""The twin in real time: physics paced to the clock, frames and truth into their channels."""

from __future__ import annotations

from collections.abc import Callable

from firmware_bridge.plant import Plant
from runtime.body import Body
from runtime.channels import Writer
from runtime.clock import now_ns, sleep_until
from runtime.process import Heartbeat
from tools.twin.scenario import Scenario
from tools.twin.twin import STEP_NS, Twin

STALL_NS = 200_000_000  # a longer pause of this process is not caught up: its world stood still


class TwinLoop:
    """One `step(now_ns)` per physics step: whatever is due by then, each at its own rate."""

    def __init__(self, twin: Twin, camera: Writer, truth: Writer) -> None:
        self.twin = twin
        self._camera, self._truth = camera, truth
        self._truth_ns = round(1e9 / truth.row.hz)
        self._frame_ns = round(1e9 / twin.body.frame_hz)
        self._next_truth = self._next_frame = twin.now_ns

    def step(self, t_ns: int) -> None:
        """Advance to `t_ns`, then publish truth and a frame if they are due."""
        if t_ns - self.twin.now_ns > STALL_NS:
            self.twin.skip_to(t_ns - STEP_NS)
        self.twin.step_to(t_ns)
        if t_ns >= self._next_truth:
            self._next_truth = _after(self._next_truth, self._truth_ns, t_ns)
            self.twin.truth(self._truth.record)
            self._truth.publish(self.twin.now_ns)
        if t_ns >= self._next_frame:
            self._next_frame = _after(self._next_frame, self._frame_ns, t_ns)
            self._camera.record["pixels"] = self.twin.render()
            self._camera.record["number"] += 1
            self._camera.publish(self.twin.now_ns - self.twin.camera_offset_ns)


def _after(due_ns: int, period_ns: int, t_ns: int) -> int:
    """The next due time of a schedule that does not drift and does not pile up."""
    return due_ns + period_ns * ((t_ns - due_ns) // period_ns + 1)


def run_twin(
    body: Body,
    seed: int,
    plant: Plant,
    camera: Writer,
    truth: Writer,
    heartbeat: Heartbeat,
    stopped: Callable[[], bool],
    scenario: Scenario | None = None,
) -> None:
    """Until `stopped()`; the first heartbeat says that sensors are flowing."""
    twin = Twin(body, seed, plant, scenario, start_ns=now_ns())
    twin.skip_to(now_ns())  # building the scene took its time
    loop = TwinLoop(twin, camera, truth)
    while not stopped():
        t = now_ns()
        loop.step(t)
        heartbeat.step(t)
        sleep_until(t - t % STEP_NS + STEP_NS)
