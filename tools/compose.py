"""Composition: from a run's settings to its parts. The only place that knows all of them."""

from __future__ import annotations

import math
import os
import sys
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from calibration.camera import Lens
from calibration.drift import standing
from calibration.store import write_record
from firmware_bridge import protocol
from models.backend import Budget, Chosen, select
from models.backends import loaders
from models.bundle import Bundle, find_bundle, load_bundle
from models.errors import BundleError, GraphError
from models.layout import Layout, goal_vector
from models.manifest import GRAPHS
from models.policy import GraphPolicy
from models.world import World
from runtime.body import Body, load_body
from runtime.channels import Channel, channel_table
from runtime.clock import now_ns, wall_ns
from runtime.conditions import Condition
from runtime.errors import ConfigError
from runtime.foresight import LEAST_ROWS, Foresight, Search
from runtime.odometry import WheelGeometry
from runtime.perception import DRIVE_DELAY_NS, PerceptionConfig
from runtime.skills import SKILLS, possible
from runtime.surprise import FLAGS, SURPRISE_CHANNELS
from runtime.worth import Worth
from tools.in_force import InForce, in_force
from tools.runtime_folder import runs_folder

if TYPE_CHECKING:
    from tools.twin.scenario import Scenario
    from tools.twin.task import Task

Float32 = npt.NDArray[np.float32]
TWIN_BACKENDS: dict[str, tuple[str, ...]] = dict.fromkeys(GRAPHS, ("ort-cpu",))
ROBOT_BACKENDS: dict[str, tuple[str, ...]] = {
    "observe": ("tensorrt", "ort-cuda", "ort-cpu"),
    "imagine": ("tensorrt", "ort-cuda", "ort-cpu"),
    "decode": ("tensorrt", "ort-cuda", "ort-cpu"),
    "policy": ("ort-cpu",),
}
# What a graph may take at start (p90 of 50 runs), in real time; lockstep counts no wall time.
GRAPH_BUDGET_US = {"observe": 20_000.0, "imagine": 15_000.0, "decode": 15_000.0, "policy": 3_000.0}


def calibration_folder() -> Path:
    """Calibration records of a robot."""
    system = Path("/var/lib/companion/calibration")
    if system.is_dir():
        return system
    data = os.environ.get("XDG_DATA_HOME", "")
    root = Path(data) if data else Path.home() / ".local" / "share"
    return root / "companion" / "calibration"


def device_serial(camera: str) -> str:
    """The name udev gives a camera from its USB serial, else the device's own name."""
    device = Path(f"/dev/video{camera}" if camera.isdigit() else camera)
    for link in sorted(Path("/dev/v4l/by-id").glob("*")):
        if link.resolve() == device.resolve():
            return link.name
    return device.name or "camera"


def engines_folder() -> Path:
    """Where TensorRT engines lie: on a robot under /var/lib, elsewhere in the user's cache."""
    system = Path("/var/lib/companion/engines")
    if system.is_dir():
        return system
    cache = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(cache) if cache else Path.home() / ".cache") / "companion" / "engines"


DEFAULT_BUNDLE = "companion-follow"


@dataclass(frozen=True)
class RunSettings:
    """One run as asked for on the command line and by configuration files."""

    body: str = "companion"
    target: str = "twin"
    firmware: str = "host"
    camera: str = "twin"
    skill: str = "follow"
    scenario: str = "default"
    foresight: int = 0  # candidates imagined per frame; 0: the policy alone
    duration_s: float = 0.0
    headless: bool = False
    seed: int = 0
    lockstep: bool = False
    record: Path | None = None
    report: Path | None = None
    bundle: str = DEFAULT_BUNDLE
    accept_unvalidated: bool = False
    page_port: int = 0
    planner: str = ""
    goal: str = ""
    stay: bool = False
    backends: dict[str, tuple[str, ...]] = field(default_factory=lambda: dict(TWIN_BACKENDS))
    allow_development_key: bool = False
    needs_operator: bool = True  # on a robot; robot.toml may waive it
    blackout: bool = False


PLAYERS = ("filesrc", "splitmuxsrc", "playbin", "file:", "http:", "https:")  # of GStreamer


@dataclass(frozen=True)
class Setup:
    """What every process of a run shares, decided before anything starts."""

    settings: RunSettings
    body: Body
    layout: Layout
    bundle: Bundle
    table: dict[str, Channel]
    folder: Path = Path()  # where the run's log and page go
    mcu: str = ""  # uid of the robot's board, whose calibrations count

    @property
    def is_twin(self) -> bool:
        """True on the twin."""
        return self.settings.target == "twin"

    @property
    def has_body(self) -> bool:
        """False where the camera is a recording, a file or a pipeline from one: motors stay disarmed."""
        camera = self.settings.camera
        played = "!" in camera and any(s in camera for s in PLAYERS)
        return not (played or Path(camera).is_file())

    @property
    def needs_operator(self) -> bool:
        """On a robot somebody watches while it moves, unless robot.toml waives it."""
        return not self.is_twin and self.settings.needs_operator

    @property
    def moves_by_itself(self) -> bool:
        """The twin engages itself; a robot waits for a gesture, a recording moves nothing."""
        return self.is_twin and self.has_body

    @property
    def may_engage(self) -> bool:
        """A robot takes a bundle that was never validated on it only where it is told to."""
        validated = self.settings.target in self.bundle.manifest.validated_on
        return self.is_twin or validated or self.settings.accept_unvalidated

    @property
    def stays_with_page(self) -> bool:
        """`make run` on a terminal: the run goes on while somebody watches its page."""
        return self.settings.stay and not self.settings.headless and sys.stdout.isatty()

    def camera_serial(self) -> str:
        """Whose calibration is asked for: the twin's specimen, or the device's own name."""
        if self.is_twin:
            return f"twin-{self.settings.seed}"
        return device_serial(self.settings.camera)

    def calibration_folder(self) -> Path:
        """Where calibration records lie: a twin carries its own, a robot has an installed one."""
        return self.folder / "calibration" if self.is_twin else calibration_folder()

    def calibrate_twin(self) -> None:
        """A twin writes its factory calibration at start, as a robot leaves its factory with one."""
        from tools.twin.specimen import factory_calibration

        date = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        record = factory_calibration(
            self.body, self.settings.seed, date, "1", self.scenario().domain
        )
        write_record(self.calibration_folder(), record)

    def in_force(self) -> InForce:
        """What of the installed calibrations counts in this run; a recording has none."""
        if not self.has_body:
            return InForce()
        board = f"twin-{self.settings.seed}" if self.is_twin else self.mcu
        return in_force(
            self.calibration_folder(), self.camera_serial(), board, self.body, wall_ns()
        )

    def lens(self) -> Lens | None:
        """The calibrated lens; None: not known, or a recording's. A twin's nominal one is known."""
        return self.in_force().lens or (
            self.body.nominal_lens() if self.is_twin and self.has_body else None
        )

    def wheels(self) -> WheelGeometry:
        """The calibrated wheels of this robot's board; as drawn where there is no such record."""
        return self.in_force().wheels or WheelGeometry.drawn(self.body.geometry)

    def is_calibrated(self) -> bool:
        """The camera's record counts, so does every other that is there, and none has drifted far.

        A recording needs none.
        """
        found = self.in_force()
        if not self.has_body or self.settings.lockstep:
            return found.holds
        mine = self.serials().values()
        drifted = any(f.gross and f.serial in mine for f in standing(self.calibration_folder()))
        return found.holds and found.lens is not None and not drifted

    def serials(self) -> dict[str, str]:
        """Of the devices whose calibrations count."""
        camera = self.camera_serial()
        return {"mcu": camera if self.is_twin else self.mcu, "camera": camera}

    def scenario(self) -> Scenario:
        """How hard the twin's scene is."""
        from tools.twin.task import scenario_named

        return scenario_named(self.settings.scenario)

    def tasks(self, scenario: Scenario | None = None) -> dict[str, Task]:
        """What the twin's seed asks of each skill."""
        from tools.twin.specimen import scene_of
        from tools.twin.task import tasks_of

        chosen = scenario or self.scenario()
        return tasks_of(self.settings.seed, scene_of(self.settings.seed, chosen), chosen)

    def goal(self, scenario: Scenario | None = None) -> Float32:
        """All that any skill may be asked for at the start, the distance being that of the run's.

        On a robot only the distance is known: the mind chooses whom. It gives each skill only the
        parts that it needs.
        """
        name = self.settings.skill
        if not (self.is_twin and self.has_body):
            return goal_vector(distance_m=SKILLS[name].distance_m or SKILLS["follow"].distance_m)
        from tools.twin.specimen import scene_of

        chosen = scenario or self.scenario()
        tasks = self.tasks(chosen)
        whole = replace(
            tasks["go_to"],
            appearance=tasks["follow"].appearance,
            distance_m=tasks[name].distance_m or tasks["follow"].distance_m,
        )
        return whole.goal(scene_of(self.settings.seed, chosen).robot)

    def skills(self) -> tuple[str, ...]:
        """Those of the bundle that this run has a goal for: a robot knows no place to go to."""
        return possible(self.bundle.manifest.skills, self.goal())

    def speed_cap_m_s(self) -> float:
        """The base speed cap of this run."""
        blind = self.body.motion.speed_max_blind_m_s
        validated = self.settings.target in self.bundle.manifest.validated_on
        return self.body.speed_cap_m_s if validated else min(blind, self.body.speed_cap_m_s)

    def metadata(self) -> dict[str, str]:
        """What a log says of its run."""
        return {
            "body": self.body.name,
            "target": self.settings.target,
            "bundle": self.bundle.manifest.name,
            "bundle_sha256": self.bundle.sha256,
            "settings": repr(self.settings),
            "wall_offset_ns": str(wall_ns() - now_ns()),
            "calibrations": ", ".join(f"{k} {v}" for k, v in self.in_force().used.items()),
        }

    def conditions(self, has_policy: bool = True) -> Condition:
        """Conditions that are decided at start; without a policy nothing drives."""
        met = Condition.BUNDLE if has_policy and self.may_engage else Condition(0)
        if self.is_calibrated():
            met |= Condition.CALIBRATED
        return met | Condition.CAMERA if self.has_body else met


def prepare(settings: RunSettings) -> Setup:
    """Load and check body and bundle; raises before anything is opened."""
    body = load_body(settings.body)
    layout = body.layout()
    bundle = load_bundle(find_bundle(settings.bundle), layout)
    if settings.target == "robot":
        check_signer(bundle, settings.allow_development_key)
    if bundle.manifest.protocol_major != protocol.MAJOR:
        raise BundleError(
            f"{bundle.path}: made for protocol {bundle.manifest.protocol_major}, this host and its "
            f"firmware speak {protocol.MAJOR}; use a bundle for protocol {protocol.MAJOR}"
        )
    check_skill(settings, bundle)
    if settings.foresight and bundle.manifest.candidates < LEAST_ROWS:
        raise ConfigError(
            f"--foresight {settings.foresight}: the bundle {bundle.manifest.name} imagines "
            f"{bundle.manifest.candidates} rows at a time, and foresight needs {LEAST_ROWS}; leave it "
            "out, or give --bundle with one that imagines more"
        )
    camera = (body.camera.height, body.camera.width, 3)
    table = channel_table(bundle.manifest.belief, camera)
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    folder = settings.record or runs_folder() / f"{stamp}_{os.getpid()}"
    return Setup(settings, body, layout, bundle, table, folder)


def check_skill(settings: RunSettings, bundle: Bundle) -> None:
    """A skill that the bundle never learned, or that this run cannot give a goal, is refused."""
    known = bundle.manifest.skills
    if settings.skill not in known:
        raise ConfigError(
            f"--skill {settings.skill}: the bundle {bundle.manifest.name} {bundle.manifest.version} "
            f"knows {', '.join(known)}; choose one of them, or give --bundle with one that knows it"
        )
    if settings.skill == "go_to" and settings.target != "twin":
        raise ConfigError(
            "--skill go_to needs a place, and only a twin draws one; use another skill"
        )


def check_alarms(bundle: Bundle) -> None:
    """Without an alarm level a channel would never hold the robot, whatever it felt.

    Raises:
        BundleError: a surprise channel has none.
    """
    missing = [c for c in SURPRISE_CHANNELS if c not in FLAGS and c not in bundle.manifest.surprise]
    if missing:
        raise BundleError(
            f"{bundle.path}: no alarm level for {', '.join(missing)}: the training that made it was "
            "not finished; run `companion model train` to its end, or give another bundle"
        )


def check_signer(bundle: Bundle, allow_development_key: bool) -> None:
    """A robot takes no bundle that anybody could have signed."""
    if bundle.signed_by == "development" and not allow_development_key:
        raise BundleError(
            f"{bundle.path} is signed with the development key, which anybody has and --target "
            "robot refuses; sign it with a key of your own, or set allow_development_key = true "
            "in robot.toml"
        )


def choose(setup: Setup, graph: str, budget: Budget | None) -> Chosen:
    """Select one graph's backend by proof."""
    return select(
        setup.bundle, graph, setup.settings.backends[graph], loaders(engines_folder()), budget
    )


def open_world(setup: Setup, budget: Budget | None = None) -> tuple[World, list[Chosen]]:
    """The world model's three graphs."""
    chosen = [choose(setup, graph, budget) for graph in ("observe", "imagine", "decode")]
    return World(setup.bundle.manifest, *(c.session for c in chosen)), chosen


def perception_config(setup: Setup, lens: Lens | None = None) -> PerceptionConfig:
    """What calibrations tell perception; `lens` stands in for the installed one."""
    found = setup.in_force()
    return PerceptionConfig(
        lens or setup.lens(), setup.settings.seed, setup.wheels(), found.drawn_from_camera,
        found.camera_offset_ns,
        DRIVE_DELAY_NS if found.drive_delay_ns is None else found.drive_delay_ns,
    )  # fmt: skip


def open_foresight(setup: Setup, world: World) -> Foresight | None:
    """What tries variations of the policy in imagination, where a run asks for it."""
    if setup.settings.foresight < 1:
        return None
    policy, _ = load_policy(setup)
    search = Search(candidates=setup.settings.foresight)
    m = setup.bundle.manifest
    half_view_rad = math.atan(0.5 * m.camera.width / m.camera.fx)
    worth = Worth(setup.layout, m.hues, half_view_rad)
    return Foresight(world, policy, setup.body, setup.layout, search, worth, setup.settings.seed)


def load_policy(setup: Setup, budget: Budget | None = None) -> tuple[GraphPolicy, Chosen]:
    """The policy.

    Raises:
        GraphError: no backend runs it.
    """
    chosen = choose(setup, "policy", budget)
    return GraphPolicy(chosen.session, setup.bundle.manifest.policy_scale), chosen


def open_policy(
    setup: Setup, budget: Budget | None = None
) -> tuple[GraphPolicy | None, Chosen | None]:
    """The policy in real time; None keeps motion disarmed (by design, without it nothing drives)."""
    try:
        return load_policy(setup, budget)
    except GraphError:
        return None, None
