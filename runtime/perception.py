"""Perception: frame -> observe -> belief -> was it as predicted? -> imagine what comes next.

One step per frame (20 Hz). The expected frame shown to the operator was imagined before the frame
it is compared with existed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from calibration.camera import Lens, LensCamera, PinholeCamera, Remap, remap_table
from models.layout import Layout
from models.manifest import Manifest
from models.since import Senses, Since
from models.world import World
from runtime.body import Body
from runtime.camera import Camera, CameraFrame
from runtime.channels import MAX_PEOPLE, Channels
from runtime.errors import ConfigError
from runtime.event_log import EventLog
from runtime.events import SURPRISE_EVENTS, Event
from runtime.foresight import Foresight, Moment
from runtime.modes import Mode
from runtime.odometry import WheelGeometry
from runtime.rollout import OpenLoop
from runtime.surprise import SURPRISE_CHANNELS, Smoother, SurpriseMonitor, moves
from runtime.window import Window

Float32 = npt.NDArray[np.float32]
Floats = npt.NDArray[np.float64]
DARK_BRIGHTNESS = 0.03
DRIVE_DELAY_NS = (
    50_000_000  # from sending to turning wheels; measured on the twin, a robot's is near
)
CAMERA_LOST_NS = 500_000_000
CORRECTION_NS = 150_000_000  # a correction is for the moment it was foreseen in


@dataclass(frozen=True, slots=True)
class PerceptionConfig:
    """The device's lens (None: not known), its wheels for the odometry residual (None: as drawn).

    `drawn_from_camera` (3, 3): the camera's optical axes turned into those of the drawing (None: as
    drawn); `camera_offset_ns`: from a frame's stamp to its mid-exposure, on the IMU's clock;
    `drive_delay_ns`: from sending a command to turning wheels.
    """

    lens: Lens | None
    seed: int = 0
    wheels: WheelGeometry | None = None
    drawn_from_camera: Floats | None = None
    camera_offset_ns: int = 0
    drive_delay_ns: int = DRIVE_DELAY_NS


class Perception:
    """See the module's text."""

    def __init__(
        self,
        body: Body,
        layout: Layout,
        manifest: Manifest,
        world: World,
        camera: Camera,
        channels: Channels,
        config: PerceptionConfig,
        stopwatch_us: Callable[[], float],
        foresight: Foresight | None = None,
    ) -> None:
        self.body, self.layout, self.world, self.camera = body, layout, world, camera
        self._us = stopwatch_us
        self._pinhole = PinholeCamera(**{f: getattr(manifest.camera, f) for f in manifest.camera.__struct_fields__})  # fmt: skip
        self._lens, self._turn = config.lens, config.drawn_from_camera
        self._offset_ns = config.camera_offset_ns
        self._drive_delay_ns = config.drive_delay_ns
        self._wheels = config.wheels or WheelGeometry.drawn(body.geometry)
        self._remap: Remap | None = None
        self._events = EventLog(channels.writer("event.perception", "perception"))
        self._frame = channels.writer("frame", "perception")
        self._expected = channels.writer("expected", "perception")
        self._belief = channels.writer("belief", "perception")
        self._people = channels.writer("people", "perception")
        self._surprise = channels.writer("surprise", "perception")
        self._window = Window(layout, channels.reader("sensors"), channels.reader("sent"))
        self._smoother = Smoother()
        self._monitor = SurpriseMonitor(manifest.surprise)
        self._open_loop = OpenLoop(
            world, Senses.of(layout), channels.writer("prediction", "perception")
        )
        self._since = Since(Senses.of(layout))
        self._foresight = foresight
        self._intent, self._status = channels.reader("intent"), channels.reader("status")
        self._correction = channels.writer("correction", "perception")
        self._mask = np.ones(3, np.float32)
        self._value = np.zeros(len(SURPRISE_CHANNELS), np.float32)
        self._last_pixels = np.zeros((self._pinhole.height, self._pinhole.width, 3), np.uint8)
        self._predicted = np.zeros((3, self._pinhole.height, self._pinhole.width), np.float32)
        self._has_prediction = False
        self._last_t_ns = 0
        self.frames = 0
        self._seed = config.seed
        world.reset(self._seed)

    def step(self, now_ns: int) -> bool:
        """Take in the newest frame if there is one; True when a belief was published."""
        frame = self.camera.read(now_ns)
        self._window.collect()  # afterwards, for a device's read takes up to a frame
        if self.camera.ended:
            self._events.keep(now_ns, Event.END_OF_RECORDING, True)
        t_ns = 0 if frame is None else frame.t_ns + self._offset_ns
        if frame is None or t_ns <= self._last_t_ns:
            silent = self.frames > 0 and now_ns - self._last_t_ns > CAMERA_LOST_NS
            self._events.keep(now_ns, Event.CAMERA_LOST, silent and not self.camera.ended)
            return False
        self._events.keep(now_ns, Event.CAMERA_LOST, False)
        start_us = self._us()
        pixels = self._see(frame)
        self._observe(pixels, t_ns)
        self._judge(now_ns, pixels, t_ns)
        self._surprise.record["observe_wall_us"] = self._us() - start_us
        self._publish(pixels, t_ns)
        if self._belief.record["valid"]:
            self._imagine()
            self._foresee(now_ns)
        else:  # it would feed on itself: the next frame starts anew
            self.world.reset(self._seed)
            self._has_prediction = False
        self._last_pixels[...] = pixels
        self._last_t_ns = t_ns
        self.frames += 1
        return True

    def _see(self, frame: CameraFrame) -> npt.NDArray[np.uint8]:
        """Device pixels to the bundle's virtual pinhole view (64,64,3)."""
        if self._remap is None:
            height, width = frame.pixels.shape[:2]
            lens = self._lens or self._nominal_lens(width, height)
            size = (lens.pinhole.width, lens.pinhole.height)
            if size != (width, height):
                raise ConfigError(
                    f"the camera gives {width}x{height} px, its calibration is of {size[0]}x{size[1]} px;"
                    " set the camera to that mode, or calibrate it in this one"
                )
            self._remap = Remap(remap_table(lens, self._pinhole, self._turn), width, height)
        return self._remap(frame.pixels)

    def _nominal_lens(self, width: int, height: int) -> LensCamera:
        """A device without a calibration: no distortion, and about the pinhole's field of view."""
        focal = self._pinhole.fx * min(width, height) / self._pinhole.width
        centre = PinholeCamera(width, height, focal, focal, (width - 1) / 2, (height - 1) / 2)
        return LensCamera(centre, (0.0, 0.0, 0.0, 0.0, 0.0))

    def _observe(self, pixels: npt.NDArray[np.uint8], t_ns: int) -> None:
        window = self._window
        start_ns = self._last_t_ns or t_ns - 50_000_000
        window.cut(start_ns, t_ns)
        self._mask[:] = (1.0, window.has_imu, window.has_proprio)
        np.multiply(pixels.transpose(2, 0, 1), np.float32(1 / 255), out=self.world.frame_input)
        both = window.has_imu and window.has_proprio
        # the graph was trained on the newest rates; means of one window are less apart in a turn
        odometry = self._odometry_residual(window.proprio) if both else 0.0
        self._set("odometry", abs(self._odometry_residual(window.rolled)) if both else np.nan)
        drive = window.drive_error(start_ns, t_ns, self._drive_delay_ns)
        self._set("drive", drive if window.has_proprio else np.nan)
        self._set("vibration", window.vibration_m_s2 if window.has_imu else np.nan)
        graph = self.world.observe(window.imu, window.proprio, odometry, window.action, self._mask)
        for name in ("divergence", "imu_error", "rarity"):
            self._set(name, graph[name])
        if not window.has_imu:
            self._set("imu_error", np.nan)

    def _judge(self, now_ns: int, pixels: npt.NDArray[np.uint8], t_ns: int) -> None:
        """Fill the surprise channels that need the frame, and raise what stays above its level."""
        seen = self.world.frame_input
        error = float(((seen - self._predicted) ** 2).mean()) if self._has_prediction else np.nan
        self._set("image_error", error)
        brightness = float(pixels.mean()) / 255
        self._set("dark", float(brightness < DARK_BRIGHTNESS))
        repeated = self.frames > 0 and np.array_equal(pixels, self._last_pixels)
        self._set("frozen", float(repeated))
        self._smoother.step(self._value)
        above = self._monitor.step(self._value, bool(moves(self._window.action)))
        self._surprise.record["above"] = above
        for i, name in enumerate(SURPRISE_CHANNELS):
            level = brightness if name == "dark" else float(self._value[i])
            self._events.keep(now_ns, SURPRISE_EVENTS[name], bool(above >> i & 1), level)
        window = self._window
        self._open_loop.meet(t_ns, seen, self.world.belief, window.proprio, window.action)
        frame = self._frame.record
        frame["brightness"], frame["dark"] = brightness, brightness < DARK_BRIGHTNESS
        frame["repeated"] = repeated

    def _odometry_residual(self, wheels: Float32) -> float:
        """Gyro yaw rate less that of wheel rates (2,) of full speed [rad/s].

        It sees gyro bias, and slip that turns.
        """
        left, right = (float(wheels[k]) * self.layout.joints[k].velocity_max_rad_s for k in (0, 1))
        return self._window.gyro_z_rad_s() - self._wheels.turned_rad(left, right)

    def _set(self, name: str, value: float) -> None:
        self._value[SURPRISE_CHANNELS.index(name)] = value

    def _publish(self, pixels: npt.NDArray[np.uint8], t_ns: int) -> None:
        number = self.frames + 1
        if self._has_prediction:
            self._expected.record["number"] = number
            np.clip(self._predicted, 0, 1, out=self._predicted)
            self._expected.record["pixels"] = (self._predicted * 255).astype(np.uint8).transpose(1, 2, 0)  # fmt: skip
            self._expected.publish(t_ns)
        self._frame.record["number"] = number
        self._frame.record["valid"] = 1
        self._frame.record["pixels"] = pixels
        self._frame.publish(t_ns)
        self._surprise.record["number"] = number
        self._surprise.record["value"] = self._value
        self._surprise.publish(t_ns)
        self._belief.record["number"] = number
        self._belief.record["valid"] = bool(np.isfinite(self.world.belief).all())
        self._belief.record["belief"] = self.world.belief
        self._belief.publish(t_ns)
        people = self.world.people()[:MAX_PEOPLE]
        self._people.record["number"], self._people.record["count"] = number, len(people)
        self._people.record["person"][: len(people)] = people
        self._people.publish(t_ns)

    def _imagine(self) -> None:
        """Predict the next frame under the action now being sent: mean of N sampled beliefs."""
        if self.world.candidates == 0:
            return
        imagined = self.world.imagine(self.world.belief, self._window.action)
        self._since.start(self._window.proprio, self.world.innovation)
        self._since.step(imagined.senses.mean(0))
        expected = self.world.decode(imagined.beliefs.mean(0), self.world.frame_input, self._since)
        self._predicted[...] = expected
        self._has_prediction = True

    def _foresee(self, now_ns: int) -> None:
        """Publish what the policy had better do otherwise, where foresight is on and something drives."""
        if self._foresight is None:
            return
        self._intent.latest()
        self._status.latest()
        intent, status, window = self._intent.record, self._status.record, self._window
        skill = int(intent["skill"])
        drives = int(status["mode"]) == Mode.ACTIVE and now_ns < int(intent["expires_ns"])
        if not (drives and skill and intent["allow"]):
            return
        record = self._correction.record
        record["forward"] = self._foresight.step(Moment(
            self.world.belief, window.proprio, window.imu.mean(0), skill, intent["goal"],
            window.action, float(status["speed_cap"]),
        ))  # fmt: skip
        record["skill"], record["gain"] = skill, self._foresight.gain
        record["expires_ns"] = now_ns + CORRECTION_NS
        self._correction.publish(now_ns)
