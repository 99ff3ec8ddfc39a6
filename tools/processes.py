"""The processes of a real-time run: each a thin shell that builds its part and loops.

Every function here runs in its own forked child and imports only what its part needs.
"""

from __future__ import annotations

import select
import socket
from pathlib import Path

from runtime.channels import Channels
from runtime.clock import now_ns, now_us, sleep_until
from runtime.process import Heartbeat, StopFlag, quiet_memory, run_periodic
from tools.compose import Setup

FALLBACK_S = 0.012  # a control period and a bit: the tick comes without the sensor batch too
SENSOR_POLL_S = 0.001
PARK_NS = 300_000_000


def controller(setup: Setup, channels: Channels, port: str, stop: StopFlag) -> None:
    """100 Hz, woken by the sensor batch; parks the motors when it leaves."""
    from firmware_bridge.link import Link
    from firmware_bridge.serial_port import SerialTransport
    from models.backend import Budget
    from runtime.controller import Controller, ControllerConfig
    from tools.compose import GRAPH_BUDGET_US, open_policy

    policy, chosen = open_policy(setup, Budget(now_us, GRAPH_BUDGET_US))
    transport = SerialTransport(port)
    link = Link(transport, setup.body.limit_table())
    part = Controller(
        setup.body, setup.layout, link, policy, channels,
        ControllerConfig(
            auto_engage=setup.is_twin,
            needs_operator=not setup.is_twin and not setup.settings.headless,
            conditions=int(setup.conditions()),
            degraded=(chosen.degraded or "") if chosen else "",
            speed_cap_m_s=setup.speed_cap_m_s(),
        ),
        now_us,
    )  # fmt: skip
    heartbeat = Heartbeat(channels, "controller")
    quiet_memory()
    try:
        _control_loop(part, link, transport.fileno(), heartbeat, stop)
    finally:
        # every way out parks: the MCU stops with its own deceleration, then cuts the enable line
        deadline = now_ns() + PARK_NS
        part.park(now_ns())
        while now_ns() < deadline and int(link.sensors[0]["mcu_mode"]) != 0:
            select.select([transport.fileno()], [], [], FALLBACK_S)
            link.step(now_ns())
        transport.close()


def _control_loop(part, link, fd, heartbeat, stop) -> None:  # type: ignore[no-untyped-def]
    """Wait for a sensor batch (or the fallback time), then one control period."""
    seen = link.sensors_seq
    due = now_ns() + int(FALLBACK_S * 1e9)
    while not stop.requested:
        left = (due - now_ns()) / 1e9
        if left > 0:
            select.select([fd], [], [], left)
            link.step(now_ns())
            if link.sensors_seq == seen and now_ns() < due:
                continue
        t = now_ns()
        part.step(t)
        seen = link.sensors_seq
        heartbeat.step(t)
        due = t + int(FALLBACK_S * 1e9)


def perception(setup: Setup, channels: Channels, stop: StopFlag) -> None:
    """20 Hz, woken by the camera."""
    from models.backend import Budget
    from runtime.perception import Perception, PerceptionConfig
    from tools.compose import GRAPH_BUDGET_US, open_world

    world, _ = open_world(setup, Budget(now_us, GRAPH_BUDGET_US))
    camera = open_camera(setup, channels)
    part = Perception(
        setup.body, setup.layout, setup.bundle.manifest, world, camera, channels,
        PerceptionConfig(lens=setup.lens(), seed=setup.settings.seed), now_us,
    )  # fmt: skip
    heartbeat = Heartbeat(channels, "perception")
    quiet_memory()
    wait = channels.reader("camera")
    try:
        while not stop.requested:
            if setup.settings.camera == "twin":
                wait.wait(20_000)
            part.step(now_ns())
            heartbeat.step(now_ns())
            if setup.settings.camera != "twin":
                select.select([], [], [], 0.005)
    finally:
        camera.close()


def open_camera(setup: Setup, channels: Channels):  # type: ignore[no-untyped-def]
    """The camera a run was asked for."""
    from runtime.camera import ChannelCamera, DeviceCamera, VideoCamera

    source = setup.settings.camera
    if source == "twin":
        return ChannelCamera(channels.reader("camera"))
    if Path(source).is_file():
        return VideoCamera(Path(source))
    return DeviceCamera(source)


def mind(setup: Setup, channels: Channels, stop: StopFlag) -> None:
    """10 Hz: skills, planner link, the machine's state."""
    from runtime.machine import LinuxMachine
    from runtime.mind import Mind, MindConfig, PlannerLink

    planner: PlannerLink | None = None
    if setup.settings.planner:
        from runtime.planner_link import ZmqPlannerLink

        planner = ZmqPlannerLink(setup.settings.planner, setup.settings.goal, now_ns())
    config = MindConfig(
        skill=setup.settings.skill,
        goal=setup.goal(),
        engage=setup.is_twin,
        allow_motion=setup.has_body,
    )
    part = Mind(channels, config, LinuxMachine(setup.folder), planner)
    try:
        run_periodic(part.step, 10, Heartbeat(channels, "mind"), stop)
    finally:
        part.close()


def recorder(setup: Setup, channels: Channels, log: Path, stop: StopFlag) -> None:
    """10 Hz: drain everything into the black box."""
    from runtime.log import McapSink, Recorder

    path = log
    part = 1
    while path.exists():  # a restarted recorder begins a new file, the old one stays readable
        part += 1
        path = log.with_name(f"{log.stem}.part{part}{log.suffix}")
    rows = [row for row in setup.table.values() if row.log_every]
    sink = McapSink(path, rows, setup.metadata())
    loop = Recorder(channels, [sink])
    try:
        run_periodic(loop.step, 10, Heartbeat(channels, "recorder"), stop)
    finally:
        loop.close(now_ns())


def twin(setup: Setup, channels: Channels, plant_fd: int, stop: StopFlag) -> None:
    """The twin in real time: physics in 2 ms steps, a frame every 50 ms, truth every 10 ms."""
    from firmware_bridge.plant import Plant
    from tools.twin.twin import Twin

    period_ns, frame_ns, truth_ns = 2_000_000, 1_000_000_000 // setup.body.frame_hz, 10_000_000
    start = now_ns()
    world = Twin(setup.body, setup.settings.seed, Plant.attach(plant_fd), start_ns=start)
    camera, truth = channels.writer("camera", "twin"), channels.writer("truth", "twin")
    heartbeat = Heartbeat(channels, "twin")
    quiet_memory()
    due = now_ns()
    next_frame = next_truth = due
    world.skip_to(due)
    while not stop.requested:
        t = now_ns()
        # far behind (a stalled machine): physics skips time rather than racing after it
        if t - world.now_ns > 200_000_000:
            world.skip_to(t - 20_000_000)
        world.step_to(t)
        if t >= next_frame:
            next_frame = max(next_frame + frame_ns, t)
            camera.record["pixels"] = world.render()
            camera.record["number"] += 1
            camera.publish(world.now_ns)
        if t >= next_truth:
            next_truth = max(next_truth + truth_ns, t)
            world.truth(truth.record)
            truth.publish(world.now_ns)
        heartbeat.step(t)
        due = max(due + period_ns, now_ns())
        sleep_until(due)


def console(setup: Setup, channels: Channels, sock: socket.socket, stop: StopFlag) -> None:
    """The page."""
    from tools.console.server import serve

    serve(setup, channels, sock, Heartbeat(channels, "console"), stop)
