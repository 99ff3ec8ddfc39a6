"""The MuJoCo model of one scene: the body from its file, the room, and people as mocap bodies.

Geom groups: 0 seen by the camera, 1 walls and floor (the camera meets them in closed form, the
range sensor by ray), 2 people's collision hulls (range sensor only), 3 the robot itself.
Collision: bit 1 is the floor with wheels and caster, bit 2 everything else with the bumper ring,
so a pressed ring is the only way the robot can touch anything but the floor; bit 4 is a low block
under the ring's edge that only a wheel meets (a fault, `faults.py`; parked below the floor).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import mujoco
import numpy as np

from runtime.body import Body, Joint
from tools.twin.domain import STANDARD, Drawn
from tools.twin.errors import TwinError
from tools.twin.scene import ROOM_HALF_M, Obstacle, Scene, Start

STEP_S = 0.002
RING_RADIUS_M = 0.19
PERSON_RADIUS_M = 0.2
HIP_M = 0.72
WHEEL_KG, HEAD_KG, NECK_KG, EAR_KG = 0.4, 0.4, 0.1, 0.02
# Centre of mass close behind the axle, a caster at either end: braking at 4.95 m/s2 leaves enough
# weight on the wheels forwards and backwards, and tips nothing.
CHASSIS_COM_X_M, CHASSIS_COM_Z_M = -0.02, -0.03
PAYLOAD_Z_M = 0.08
CASTER_RADIUS_M = 0.03
WHEEL_KV = 1.0  # N m s/rad: 20 ms time constant with the body's weight
SHORT_BRAKE_KV = 0.4  # kt^2 / R: what a short-circuited motor does without power
BRAKE_N_M_S = 50.0  # a wheel's spring-applied brake: falls in without power, or when told
HEAD_KP, HEAD_KV = 20.0, 0.55
EAR_KP, EAR_KV = 2.0, 0.06
SEEN, ROOM, HULL, ROBOT, HIDDEN = 0, 1, 2, 3, 4
BLOCK_HALF_M, BLOCK_HEIGHT_M = 0.05, 0.034  # the ring's lower edge is 35 mm above the floor


@dataclass(frozen=True, slots=True)
class Ids:
    """Indices into the model that the twin needs every step."""

    camera_site: int
    range_site: int
    head_body: int
    bumper_sensor: int  # address in sensordata
    joint_q: tuple[int, ...]
    joint_v: tuple[int, ...]
    trunk_mocap: tuple[int, ...]  # per person
    hull_mocap: tuple[int, ...]
    legs_mocap: tuple[tuple[int, int], ...]
    wheel_geom: tuple[int, ...]
    block_mocap: tuple[int, ...]  # per wheel
    hands_mocap: int
    base: int
    hands: int  # the weld between hands and base


def build(
    body: Body, scene: Scene, mount_rad: tuple[float, float], drawn: Drawn = STANDARD
) -> tuple[mujoco.MjModel, Ids]:
    """Compile the scene; `mount_rad` is the IMU's small roll and pitch error."""
    if body.joint_names[:2] != ("wheel_left", "wheel_right"):
        raise TwinError(
            f"the twin drives bodies whose first joints are wheel_left and wheel_right; "
            f"{body.name} has {', '.join(body.joint_names)}"
        )
    model = mujoco.MjModel.from_xml_string(_xml(body, scene, mount_rad, drawn))
    return model, _ids(model, body, len(scene.people))


def _xml(body: Body, scene: Scene, mount_rad: tuple[float, float], drawn: Drawn) -> str:
    obstacles = "".join(_obstacle(i, o) for i, o in enumerate(scene.obstacles))
    people = "".join(_person(i, p) for i, p in enumerate(scene.people))
    joints = body.joint
    sensors = "".join(
        f'<{kind} {target}="{prefix}{j.name}"/>'
        for kind, target, prefix in (
            ("jointpos", "joint", ""),
            ("jointvel", "joint", ""),
            ("actuatorfrc", "actuator", ""),
        )
        for j in joints
    )
    return f"""<mujoco>
<option timestep="{STEP_S}" integrator="implicitfast" iterations="20" ls_iterations="10"/>
<worldbody>
<geom name="floor" type="plane" size="5 5 .1" friction="{0.8 * drawn.floor_friction_share} .005 .0001" group="{ROOM}"
 contype="1" conaffinity="0"/>
{_walls()}{obstacles}{people}{_robot(body, scene, mount_rad, drawn)}{_blocks()}
<body name="hands" mocap="true"/>
</worldbody>
<equality><weld name="hands" body1="hands" body2="base" relpose="0 0 0 1 0 0 0" active="false"/>
</equality>
<actuator>{"".join(_actuator(j, drawn) for j in joints)}</actuator>
<sensor><gyro site="imu"/><accelerometer site="imu"/>{sensors}
<contact name="bumper" geom1="ring" num="1" data="found"/></sensor>
</mujoco>"""


def _walls() -> str:
    sides = ((-1, 0), (1, 0), (0, -1), (0, 1))
    return "".join(
        f'<geom name="wall{i}" type="plane" size="5 5 .1" '
        f'pos="{x * ROOM_HALF_M} {y * ROOM_HALF_M} 0" zaxis="{-x} {-y} 0" group="{ROOM}" '
        'contype="2" conaffinity="0"/>'
        for i, (x, y) in enumerate(sides)
    )


def _blocks() -> str:
    """One low block per wheel: what a bumper does not see."""
    return "".join(
        f'<body name="block{i}" mocap="true" pos="0 0 -1"><geom name="block{i}" type="box" '
        f'size="{BLOCK_HALF_M} .02 {BLOCK_HEIGHT_M / 2}" group="{HIDDEN}" contype="4" '
        'conaffinity="0"/></body>'
        for i in range(2)
    )


def _obstacle(index: int, o: Obstacle) -> str:
    half = o.height_m / 2
    size = f"{o.half_m[0]} {o.half_m[1]} {half}" if o.kind == "box" else f"{o.half_m[0]} {half}"
    return (
        f'<body pos="{o.x_m} {o.y_m} {half}" euler="0 0 {math.degrees(o.yaw_rad)}">'
        f'<geom name="obstacle{index}" type="{o.kind}" size="{size}" group="{SEEN}" '
        'contype="2" conaffinity="0"/></body>'
    )


def _person(index: int, start: Start) -> str:
    look = f'group="{SEEN}" contype="0" conaffinity="0"'
    at = f'pos="{start.x_m} {start.y_m} 0"'
    legs = "".join(
        f'<body name="leg{index}_{side}" mocap="true" pos="{start.x_m} {start.y_m} {HIP_M}">'
        f'<geom name="leg{index}_{side}" type="capsule" size=".075 .29" pos="0 0 -.355" {look}/>'
        "</body>"
        for side in (0, 1)
    )
    return (
        f'<body name="person{index}" mocap="true" {at}>'
        f'<geom name="shirt{index}" type="capsule" size=".18 .2" pos="0 0 1" {look}/>'
        f'<geom name="face{index}" type="sphere" size=".11" pos="0 0 1.47" {look}/></body>'
        # a body of its own: mj_multiRay culls a body by the bounds of its colliding geoms
        f'<body name="hull{index}" mocap="true" {at}>'
        f'<geom name="hull{index}" type="cylinder" size="{PERSON_RADIUS_M} .3" pos="0 0 .3" '
        f'group="{HULL}" contype="2" conaffinity="0"/></body>{legs}'
    )


def _robot(body: Body, scene: Scene, mount_rad: tuple[float, float], drawn: Drawn) -> str:
    g = body.geometry
    x, y, yaw = scene.robot
    chassis = g.mass_kg - 2 * WHEEL_KG - HEAD_KG - NECK_KG - 2 * EAR_KG
    load = drawn.payload_kg
    com_z_m = CHASSIS_COM_Z_M + load / (chassis + load) * (PAYLOAD_Z_M - CHASSIS_COM_Z_M)
    size = " ".join(str(s / 2) for s in g.chassis_m)
    roll, pitch = (math.degrees(a) for a in mount_rad)
    hidden = f'group="{ROBOT}" contype="0"'
    length, width, height = g.chassis_m
    inertia = (
        f"{chassis / 12 * (width**2 + height**2)} {chassis / 12 * (length**2 + height**2)} "
        f"{chassis / 12 * (length**2 + width**2)}"
    )
    casters = "".join(
        f'<geom name="caster{i}" type="sphere" size="{CASTER_RADIUS_M}" pos="{_vec(c)}" {hidden} '
        f'conaffinity="1" friction="{drawn.caster_friction} .001 .0001" priority="1"/>'
        for i, c in enumerate(g.caster_m)
    )
    return f"""<body name="base" pos="{x} {y} {g.wheel_radius_m}" euler="0 0 {math.degrees(yaw)}">
<freejoint name="base"/>
<inertial pos="{CHASSIS_COM_X_M} 0 {com_z_m}" mass="{chassis + load}" diaginertia="{inertia}"/>
<geom type="box" size="{size}" pos="{_vec(g.chassis_centre_m)}" {hidden} conaffinity="0"/>
<geom name="ring" type="cylinder" size="{RING_RADIUS_M} .08" pos="0 0 .04" {hidden}
 conaffinity="2"/>
{casters}
<site name="imu" pos="{_vec(body.imu.base_from_imu_m)}" euler="{roll} {pitch} 0"/>
<site name="range" pos="{length / 2} 0 {g.chassis_centre_m[2]}"/>
{_wheel(body.joint[0], g.track_width_m / 2, g.wheel_radius_m, drawn)}
{_wheel(body.joint[1], -g.track_width_m / 2, g.wheel_radius_m, drawn)}
<body name="neck" pos="{_vec(g.neck_m)}">{_head_joint(body, "head_yaw", "0 0 1")}
<inertial pos="0 0 .05" mass="{NECK_KG}" diaginertia=".0002 .0002 .0002"/>
<body name="head" pos="{_vec(g.head_m)}">{_head_joint(body, "head_pitch", "0 1 0")}
<inertial pos=".015 0 0" mass="{HEAD_KG}" diaginertia=".0012 .0008 .0012"/>
<site name="camera" pos="{_vec(body.camera.head_from_camera_m)}"/>
{_ear(body, "ear_left", 0.08)}{_ear(body, "ear_right", -0.08)}
</body></body></body>"""


def _wheel(joint: Joint, y_m: float, radius_m: float, drawn: Drawn) -> str:
    grip = drawn.tyre_friction * drawn.floor_friction_share
    return (
        f'<body name="{joint.name}" pos="0 {y_m} 0">'
        f'<joint name="{joint.name}" axis="0 1 0" armature=".002" damping=".005" '
        f'frictionloss="{drawn.wheel_loss_n_m}"/>'
        f'<inertial pos="0 0 0" mass="{WHEEL_KG}" diaginertia=".0006 .0011 .0006"/>'
        # a crowned tyre touches the floor in one point
        f'<geom name="{joint.name}" type="sphere" size="{radius_m}" group="{ROBOT}" contype="0" conaffinity="5" '
        f'friction="{grip} .01 .0001"/></body>'
    )


def _head_joint(body: Body, name: str, axis: str) -> str:
    return (
        f'<joint name="{name}" axis="{axis}" armature=".005" damping=".02"/>'
        if (name in body.joint_names)
        else ""
    )


def _ear(body: Body, name: str, y_m: float) -> str:
    if name not in body.joint_names:
        return ""
    return (
        f'<body name="{name}" pos="-.02 {y_m} .05">'
        f'<joint name="{name}" axis="0 1 0" armature=".0005" damping=".002"/>'
        f'<inertial pos="0 0 .03" mass="{EAR_KG}" diaginertia=".00003 .00003 .00001"/></body>'
    )


def _actuator(joint: Joint, drawn: Drawn) -> str:
    wheel = joint.command == "velocity"
    torque = joint.current_max_a * joint.torque_constant_n_m_a
    torque *= drawn.wheel_strength if wheel else drawn.head_strength
    force = f'name="{joint.name}" joint="{joint.name}" forcerange="{-torque} {torque}"'
    if wheel:
        return f'<velocity {force} kv="{WHEEL_KV * drawn.wheel_kv_share}"/>'
    ear = joint.name.startswith("ear")
    kp, kv = (EAR_KP, EAR_KV) if ear else (HEAD_KP, HEAD_KV)
    kp, kv = kp * drawn.head_kp_share, kv * drawn.head_kv_share
    return f'<position {force} kp="{kp}" kv="{kv}"/>'


def _vec(values: tuple[float, float, float]) -> str:
    return " ".join(str(v) for v in values)


def _ids(model: mujoco.MjModel, body: Body, people: int) -> Ids:
    joints = [model.joint(j.name) for j in body.joint]
    mocap = model.body_mocapid
    return Ids(
        camera_site=model.site("camera").id,
        range_site=model.site("range").id,
        head_body=model.body("head").id,
        bumper_sensor=int(model.sensor("bumper").adr[0]),
        joint_q=tuple(int(j.qposadr[0]) for j in joints),
        joint_v=tuple(int(j.dofadr[0]) for j in joints),
        trunk_mocap=tuple(int(mocap[model.body(f"person{i}").id]) for i in range(people)),
        hull_mocap=tuple(int(mocap[model.body(f"hull{i}").id]) for i in range(people)),
        legs_mocap=tuple(
            (
                int(mocap[model.body(f"leg{i}_0").id]),
                int(mocap[model.body(f"leg{i}_1").id]),
            )
            for i in range(people)
        ),
        wheel_geom=tuple(int(model.geom(j.name).id) for j in body.joint[:2]),
        block_mocap=tuple(int(mocap[model.body(f"block{i}").id]) for i in range(2)),
        base=model.body("base").id,
        hands_mocap=int(mocap[model.body("hands").id]),
        hands=int(model.equality("hands").id),
    )


def albedo(model: mujoco.MjModel, scene: Scene) -> np.ndarray:
    """(ngeom, 3) float32 linear albedo, and people before furniture in `classes`."""
    table = np.full((model.ngeom, 3), 0.5, np.float32)
    for i, o in enumerate(scene.obstacles):
        table[model.geom(f"obstacle{i}").id] = o.rgb
    for i, person in enumerate(scene.people):
        table[model.geom(f"shirt{i}").id] = person.look.shirt
        table[model.geom(f"face{i}").id] = person.look.skin
        for side in (0, 1):
            table[model.geom(f"leg{i}_{side}").id] = person.look.trousers
    return table


OTHER, TARGET, DISTRACTOR, OBSTACLE = 0, 1, 2, 3


def classes(model: mujoco.MjModel, scene: Scene) -> np.ndarray:
    """(ngeom + 1,) uint8 label of each geom; the last entry is the room (geom id -1)."""
    table = np.zeros(model.ngeom + 1, np.uint8)
    for i in range(len(scene.obstacles)):
        table[model.geom(f"obstacle{i}").id] = OBSTACLE
    for i in range(len(scene.people)):
        for name in (f"shirt{i}", f"face{i}", f"leg{i}_0", f"leg{i}_1"):
            table[model.geom(name).id] = TARGET if i == 0 else DISTRACTOR
    return table
