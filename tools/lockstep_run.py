"""A run in lockstep: twin, firmware core and all parts in one process, faster than real time."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from firmware_bridge.link import Link
from firmware_bridge.lockstep import LockstepFirmware
from firmware_bridge.transport import LockstepTransport
from models.policy import Policy
from models.world import World
from runtime.camera import Camera, CameraFrame, ChannelCamera, VideoCamera
from runtime.clock import no_time_us
from runtime.controller import Controller, ControllerConfig
from runtime.lockstep import MS, START_NS, Clockwork, Latency, LockstepChannels
from runtime.log import Arrays, MemorySink, Recorder, Sink
from runtime.machine import SteadyMachine
from runtime.mind import Mind, MindConfig
from runtime.modes import Mode
from runtime.perception import Perception
from runtime.skills import possible
from tools.compose import Setup, open_foresight, perception_config
from tools.twin.judge import SkillResult, judge
from tools.twin.scenario import Scenario
from tools.twin.specimen import latency_of
from tools.twin.twin import Twin
from tools.unplugged import Unplugged
from tools.watched import watch_config

Float32 = npt.NDArray[np.float32]
PHYSICS_NS = 2 * MS
CONTROL_NS = 10 * MS
MIND_NS = 100 * MS
LAST_WORDS_NS = 100 * MS
START_LIMIT_NS = 20_000 * MS  # a run that does not become active by then has failed


class DarkCamera:
    """The twin's camera with a cap on it: frames come, and they are black."""

    def __init__(self, camera: Camera) -> None:
        self._camera = camera
        self.has_body = camera.has_body
        self.ended = False

    def read(self, now_ns: int) -> CameraFrame | None:
        """See `Camera`."""
        frame = self._camera.read(now_ns)
        self.ended = self._camera.ended
        return None if frame is None else CameraFrame(frame.t_ns, np.zeros_like(frame.pixels))

    def close(self) -> None:
        """See `Camera`."""
        self._camera.close()


class DelayedLink:
    """A transport whose bytes take the declared time on the wire, both ways."""

    def __init__(self, firmware: LockstepFirmware, clockwork: Clockwork, latency_ns: int) -> None:
        self._inner = LockstepTransport(firmware)
        self._firmware, self._clockwork, self._latency_ns = firmware, clockwork, latency_ns

    def read_into(self, buffer: memoryview) -> int:
        """Bytes that have arrived."""
        return self._inner.read_into(buffer)

    def write(self, data: memoryview) -> int:
        """Send; they arrive later."""
        copy = bytes(data)
        at = self._clockwork.now_ns + self._latency_ns
        self._clockwork.at(at, "firmware", lambda: self._firmware.receive(copy))
        return len(copy)

    def fileno(self) -> int | None:
        """There is no file."""
        return None

    def reopen(self) -> bool:
        """Always open."""
        return True

    def close(self) -> None:
        """Nothing to close."""


@dataclass
class Overrides:
    """What evaluation, collection and tests put in place of a part."""

    world: World | None = None
    policy: Policy | None = None
    scenario: Scenario | None = None  # else that of the run's settings
    dark: bool = False
    on_render: Callable[[Twin], None] | None = None
    latency: Latency | None = None
    on_build: Callable[[Twin], None] | None = None  # builds the specimen otherwise
    video: VideoCamera | None = None


@dataclass
class LockstepResult:
    """What a lockstep run gives."""

    records: Arrays
    skill: SkillResult | None
    tick_log_sha256: str
    wall_s: float
    mode_final: str
    tick_us: list[float]
    observe_ms: list[float]
    virtual_s: float  # from the first active tick, or from the start where nothing may move


class LockstepRun:
    """Builds the parts and schedules them."""

    def __init__(
        self, setup: Setup, world: World, policy: Policy | None, overrides: Overrides | None = None
    ) -> None:
        o = overrides or Overrides()
        settings = setup.settings
        self.setup = setup
        self.clockwork = Clockwork()
        scenario = o.scenario or setup.scenario()
        latency = o.latency or latency_of(settings.seed, scenario.domain)
        self.channels = LockstepChannels(
            setup.table,
            self.clockwork,
            {"camera": latency.camera, "perception": latency.perception, "mind": latency.mind,
             "controller": latency.controller, "truth": 0},
        )  # fmt: skip
        self.firmware = LockstepFirmware(setup.body.limit_table())
        self.twin = Twin(
            setup.body, settings.seed, self.firmware.plant, scenario, start_ns=START_NS
        )
        if o.on_build:
            o.on_build(self.twin)
        self.task = setup.tasks(scenario)[settings.skill]
        self.controller = self._build_controller(o, policy, latency)
        self.perception = self._build_perception(o, world)
        goal = setup.goal(scenario)
        self.mind = Mind(self.channels, MindConfig(
            skill=settings.skill, goal=goal, engage=True, allow_motion=setup.has_body,
            skills=possible(setup.bundle.manifest.skills, goal),
            hues=setup.bundle.manifest.hues, wheels=setup.wheels(), watch=watch_config(setup),
            min_battery_v=setup.body.battery.low_v,
        ), SteadyMachine())  # fmt: skip
        self.memory = MemorySink()
        self._camera_out = self.channels.writer("camera", "twin")
        self._truth_out = self.channels.writer("truth", "twin")
        self._video = o.video
        self.active_ns = 0
        self.tick_us: list[float] = []
        self.observe_ms: list[float] = []
        self._on_render = o.on_render
        self._recorder: Recorder | None = None
        self._latency = latency

    def _build_controller(
        self, o: Overrides, policy: Policy | None, latency: Latency
    ) -> Controller:
        # a recording has no body: its twin stands beside the run, and nobody answers the link
        transport = (
            Unplugged() if o.video else DelayedLink(self.firmware, self.clockwork, latency.serial)
        )
        link = Link(transport, self.setup.body.limit_table())
        found = self.setup.in_force()
        return Controller(
            self.setup.body, self.setup.layout, link, o.policy or policy, self.channels,
            ControllerConfig(
                auto_engage=True, needs_operator=False,
                conditions=int(self.setup.conditions(has_policy=bool(o.policy or policy))),
                speed_cap_m_s=self.setup.body.speed_cap_m_s,
                imu=found.imu, drives=found.drives, doubts=tuple(found.doubts),
            ),
            no_time_us,
        )  # fmt: skip

    def _build_perception(self, o: Overrides, world: World) -> Perception:
        camera: Camera = o.video or ChannelCamera(self.channels.reader("camera"))
        return Perception(
            self.setup.body, self.setup.layout, self.setup.bundle.manifest, o.world or world,
            DarkCamera(camera) if o.dark else camera, self.channels,
            perception_config(self.setup, None if o.video else self.twin.camera.lens),
            no_time_us, open_foresight(self.setup, o.world or world),
        )  # fmt: skip

    def run(self, duration_s: float, sinks: list[Sink] | None = None) -> LockstepResult:
        """Run until `duration_s` after the first active tick (or after the start, if disarmed)."""
        started = time.perf_counter()
        c = self.clockwork
        recorder = Recorder(self.channels, [self.memory, *(sinks or [])])
        self._schedule_senses()
        c.at(START_NS + self._latency.controller, "controller", self._start_controller)
        c.every(MIND_NS, "mind", self.mind.step)
        c.every(MIND_NS, "recorder", recorder.step)
        if self._video is None:
            c.run(START_NS + START_LIMIT_NS, lambda: self.active_ns > 0)
        start = self.active_ns or START_NS
        c.run(start + round(duration_s * 1e9), self._has_ended)
        if self._has_ended():
            c.run(c.now_ns + LAST_WORDS_NS)  # until the event of the end has appeared
        recorder.close(c.now_ns)
        return self._result(time.perf_counter() - started, (c.now_ns - start) / 1e9)

    def _schedule_senses(self) -> None:
        """Physics, frames and what they wake; a recording is read at the frame rate instead."""
        c = self.clockwork
        if self._video is not None:
            period_ns = 1_000_000_000 // self.setup.body.frame_hz
            c.every(period_ns, "perception", lambda _now_ns: self._perceive())
            return
        c.every(PHYSICS_NS, "twin", self._physics)
        c.every(50 * MS, "twin", self._render)
        self.channels.on_delivery("camera", self._perceive)

    def _has_ended(self) -> bool:
        return self._video is not None and self._video.ended

    def _start_controller(self) -> None:
        self.clockwork.every(CONTROL_NS, "controller", self._control)

    def _physics(self, now_ns: int) -> None:
        self.firmware.run(self.firmware.mcu_us(now_ns - START_NS))
        self.twin.step_to(now_ns)
        if (now_ns - START_NS) % CONTROL_NS == 0:
            self.twin.truth(self._truth_out.record)
            self._truth_out.publish(now_ns)

    def _render(self, now_ns: int) -> None:
        r = self._camera_out.record
        r["pixels"] = self.twin.render()
        r["number"] += 1
        self._camera_out.publish(now_ns - self.twin.camera_offset_ns)
        if self._on_render:
            self._on_render(self.twin)

    def _control(self, now_ns: int) -> None:
        start = time.perf_counter()
        self.controller.step(now_ns)
        self.tick_us.append((time.perf_counter() - start) * 1e6)
        if not self.active_ns and self.controller.mode is Mode.ACTIVE:
            self.active_ns = now_ns

    def _perceive(self) -> None:
        start = time.perf_counter()
        if self.perception.step(self.clockwork.now_ns):
            self.observe_ms.append((time.perf_counter() - start) * 1e3)

    def _result(self, wall_s: float, virtual_s: float) -> LockstepResult:
        records = self.memory.arrays()
        skill: SkillResult | None = None
        if self.active_ns and "truth" in records:
            truth = records["truth"]
            active = truth[truth["t_ns"] >= self.active_ns]
            skill = judge(active, self.task) if len(active) else None
        return LockstepResult(
            records=records,
            skill=skill,
            tick_log_sha256=self.channels.tick_log_sha256(),
            wall_s=wall_s,
            mode_final=self.controller.mode.name.lower(),
            tick_us=self.tick_us,
            observe_ms=self.observe_ms,
            virtual_s=virtual_s,
        )
