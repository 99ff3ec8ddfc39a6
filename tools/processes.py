"""The processes of a real-time run: each a thin shell that builds its part and loops.

Every function here runs in its own forked child and imports only what its part needs.
"""

from __future__ import annotations

import select
import socket
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from models.backend import Budget, Chosen
from runtime.channels import Channels
from runtime.clock import now_ns, now_us, sleep_until, wall_ns
from runtime.errors import RuntimeFault
from runtime.foresight import BUDGET_US
from runtime.process import Heartbeat, Parent, StopFlag, quiet_memory, run_periodic
from tools.compose import (
    GRAPH_BUDGET_US,
    Setup,
    open_foresight,
    open_policy,
    open_world,
    perception_config,
)

if TYPE_CHECKING:
    from firmware_bridge.link import Link
    from models.world import World
    from runtime.camera import Camera
    from runtime.controller import Controller
    from runtime.foresight import Foresight
    from runtime.log import Recorder

FALLBACK_NS = 12_000_000  # a control period and a bit: the tick comes without the sensor batch too
PARK_NS = 300_000_000
ROLL_OUT_NS = 1_000_000_000  # the twin's world goes on until its wheels have stopped
REST_RAD_S = 0.02
MCU_SAFE = 0


def tell_chosen(parent: Parent, chosen: list[Chosen]) -> None:
    """Which backends are really in use, and which of them is a fallback."""
    for c in chosen:
        parent.hear("backend", f"{c.graph} {c.backend}")
        if c.degraded:
            parent.hear("degraded", c.degraded)


def controller(setup: Setup, channels: Channels, port: str, stop: StopFlag, parent: Parent) -> None:
    """100 Hz, woken by the sensor batch; parks the motors when it leaves."""
    from firmware_bridge.link import Link
    from firmware_bridge.serial_port import SerialTransport
    from runtime.controller import Controller, ControllerConfig
    from tools.unplugged import Unplugged

    policy, chosen = open_policy(setup, Budget(now_us, GRAPH_BUDGET_US))
    tell_chosen(parent, [chosen] if chosen else [])
    if policy is None:
        parent.hear("degraded", "no backend runs the policy: motion stays disarmed")
    transport = SerialTransport(port) if setup.has_body else Unplugged()
    link = Link(transport, setup.body.limit_table(), now_ns)
    found = setup.in_force()
    part = Controller(
        setup.body, setup.layout, link, policy, channels,
        ControllerConfig(
            auto_engage=setup.is_twin,
            needs_operator=setup.needs_operator,
            conditions=int(setup.conditions(has_policy=policy is not None)),
            speed_cap_m_s=setup.speed_cap_m_s(),
            imu=found.imu,
            drives=found.drives,
            doubts=tuple(found.doubts),
        ),
        now_us,
    )  # fmt: skip
    heartbeat = Heartbeat(channels, "controller")
    quiet_memory()
    try:
        _control_loop(part, link, heartbeat, stop)
    finally:
        # every way out parks: the MCU stops with its own deceleration, then cuts the enable line
        part.park(now_ns())
        deadline = now_ns() + PARK_NS
        while setup.has_body and now_ns() < deadline and _mcu_mode(link) != MCU_SAFE:
            _wait(link, now_ns() + FALLBACK_NS)
            link.step(now_ns())
        transport.close()


def _mcu_mode(link: Link) -> int:
    return int(link.sensors[0]["mcu_mode"])


def _wait(link: Link, until_ns: int) -> None:
    """Sleep until bytes come or the time is over; an unplugged port has nothing to wait on."""
    fd = link.fileno()
    left_s = max(0.0, (until_ns - now_ns()) / 1e9)
    select.select([] if fd is None else [fd], [], [], left_s)


def _control_loop(part: Controller, link: Link, heartbeat: Heartbeat, stop: StopFlag) -> None:
    """Wait for a sensor batch (or the fallback time), then one control period."""
    seen = link.sensors_seq
    due = now_ns() + FALLBACK_NS
    while not stop.requested:
        if now_ns() < due:
            _wait(link, due)
            link.step(now_ns())
            if link.sensors_seq == seen and now_ns() < due:
                continue
        t = now_ns()
        part.step(t)
        seen = link.sensors_seq
        heartbeat.step(t)
        due = t + FALLBACK_NS


def perception(setup: Setup, channels: Channels, stop: StopFlag, parent: Parent) -> None:
    """20 Hz: woken by the twin's camera, paced by the clock with any other."""
    from runtime.perception import Perception

    world, chosen = open_world(setup, Budget(now_us, GRAPH_BUDGET_US))
    tell_chosen(parent, chosen)
    camera = open_camera(setup, channels)
    part = Perception(
        setup.body, setup.layout, setup.bundle.manifest, world, camera, channels,
        perception_config(setup), now_us,
        affordable_foresight(setup, world, parent),
    )  # fmt: skip
    heartbeat = Heartbeat(channels, "perception")
    quiet_memory()
    try:
        if setup.settings.camera == "twin":
            wait = channels.reader("camera")
            while not stop.requested:
                wait.latest()
                part.step(now_ns())
                heartbeat.step(now_ns())
                wait.wait(20_000)
        else:
            run_periodic(part.step, setup.body.frame_hz, heartbeat, stop)
    finally:
        camera.close()


def affordable_foresight(setup: Setup, world: World, parent: Parent) -> Foresight | None:
    """What a run asks for, if its imagining is done well before the next frame; else a word, and none.

    A belief that comes late holds the robot, so it is better driven by the policy alone.
    """
    found = open_foresight(setup, world)
    if found is None:
        return None
    took_us, most = found.fits(now_us)
    if took_us <= BUDGET_US:
        return found
    parent.hear(
        "foresight",
        f"foresight is off: {setup.settings.foresight} variations take {took_us / 1e3:.0f} ms of each "
        f"50 ms frame here, and {BUDGET_US / 1e3:.0f} may be used; "
        + (f"give --foresight {most} or less" if most else "this machine is too slow for any"),
    )
    return None


def open_camera(setup: Setup, channels: Channels) -> Camera:
    """The camera a run was asked for."""
    from runtime.camera import ChannelCamera, DeviceCamera, VideoCamera

    source = setup.settings.camera
    if source == "twin":
        return ChannelCamera(channels.reader("camera"))
    if Path(source).is_file():
        return VideoCamera(Path(source))
    return DeviceCamera(source, setup.body.frame_hz, again=setup.has_body)


def mind(setup: Setup, channels: Channels, stop: StopFlag, parent: Parent) -> None:
    """10 Hz: skills, planner link, the machine's state."""
    from runtime.machine import LinuxMachine
    from runtime.mind import Mind, MindConfig, PlannerLink
    from tools.watched import watch_config

    planner: PlannerLink | None = None
    if setup.settings.planner:
        from runtime.planner_link import ZmqPlannerLink

        planner = ZmqPlannerLink(
            setup.settings.planner, setup.settings.goal, now_ns(), setup.skills()
        )
    config = MindConfig(
        skill=setup.settings.skill,
        goal=setup.goal(),
        engage=setup.is_twin,
        allow_motion=setup.has_body,
        skills=setup.skills(),
        hues=setup.bundle.manifest.hues,
        wheels=setup.wheels(),
        min_battery_v=setup.body.battery.low_v,
        watch=watch_config(setup, wall_ns() - now_ns()),
    )
    part = Mind(channels, config, LinuxMachine(setup.folder), planner)
    try:
        run_periodic(part.step, 10, Heartbeat(channels, "mind"), stop)
    finally:
        part.close()


def recorder(setup: Setup, channels: Channels, log: Path, stop: StopFlag, parent: Parent) -> None:
    """10 Hz: drain everything into the black box."""
    from runtime.log import McapSink, Recorder, Sink

    path = log
    part = 1
    while path.exists():  # a restarted recorder begins a new file, the old one stays readable
        part += 1
        path = log.with_name(f"{log.stem}.part{part}{log.suffix}")
    rows = [row for row in setup.table.values() if row.log_every]
    sinks: list[Sink] = []
    try:
        sinks.append(McapSink(path, rows, setup.metadata()))
    except RuntimeFault as error:
        if part == 1:
            raise
        parent.hear("recording", f"the run goes on without recording: {error}")
    loop = Recorder(channels, sinks)

    try:
        run_periodic(partial(record, loop.step, loop, parent), 10, Heartbeat(channels, "recorder"), stop)  # fmt: skip
    finally:
        record(loop.close, loop, parent, now_ns())
        if loop.missed and part == 1:
            parent.hear("missed", str(loop.missed))


def record(step: Callable[[int], None], loop: Recorder, parent: Parent, t_ns: int) -> None:
    """One step of the recorder; a full disk is told once, and no reason to stop the robot."""
    try:
        step(t_ns)
    except RuntimeFault as error:
        loop.give_up()
        parent.hear("recording", f"the run goes on without recording: {error}")


def twin(
    setup: Setup, channels: Channels, plant_fd: int, offset: int, stop: StopFlag, parent: Parent
) -> None:
    """The twin's world in real time; it ends when its wheels stand still."""
    from firmware_bridge.plant import Plant
    from tools.twin.process import TwinLoop
    from tools.twin.twin import STEP_NS, Twin

    plant = Plant.attach(plant_fd, offset)
    world = Twin(setup.body, setup.settings.seed, plant, setup.scenario(), start_ns=now_ns())
    truth = channels.writer("truth", "twin")
    loop = TwinLoop(world, channels.writer("camera", "twin"), truth)
    heartbeat = Heartbeat(channels, "twin")
    quiet_memory()
    world.skip_to(now_ns())  # building the scene took its time
    end_ns = 0
    while True:
        t = now_ns()
        loop.step(t)
        heartbeat.step(t)
        if stop.requested:
            end_ns = end_ns or t + ROLL_OUT_NS
            if t >= end_ns or abs(truth.record["wheel_rad_s"]).max() < REST_RAD_S:
                return
        sleep_until(t - t % STEP_NS + STEP_NS)


def console(
    setup: Setup, channels: Channels, sock: socket.socket, stop: StopFlag, parent: Parent
) -> None:
    """The page."""
    from tools.console.server import serve

    serve(setup, channels, sock, Heartbeat(channels, "console"), stop)
