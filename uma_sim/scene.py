"""The common environment of all tasks: table, robot, camera and light, compiled with a task's bodies."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import mujoco
import numpy as np
from scipy.spatial.transform import Rotation

from uma.geometry import se3
from uma.robot import DROID
from uma_sim.objects import contacts
from uma_sim.robot import arm as robot
from uma_sim.robot import gripper
from uma_sim.robot.camera import FULL_FOCAL

TIMESTEP = 0.002
"""Physics step, seconds."""

CAMERA_POSITION = np.array([0.50, -0.52, 0.50])
CAMERA_TARGET = np.array([0.49, 0.16, 0.13])
"""Nominal camera: on the robot's right, looking across the workspace. Metres, base frame."""


@dataclass(frozen=True)
class Room:
    """The environment of a task.

    Attributes:
        start_joints: ``(7,)`` radians.
        T_base_cam: ``(4, 4)`` pose of the camera's optical frame.
        table_color: RGBA.
        light: brightness factor.
        focal: of the camera, in pixels of its full image.
        pattern: RGBA of the table's second checker colour; None for a plain table.
    """

    start_joints: np.ndarray
    T_base_cam: np.ndarray
    table_color: tuple[float, ...]
    light: float
    focal: float = FULL_FOCAL
    pattern: tuple[float, ...] | None = None


def look_at(position: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Return the ``(4, 4)`` pose of an optical frame (x right, y down, z forward) at ``position`` facing ``target``."""
    z = (target - position) / np.linalg.norm(target - position)
    x = np.cross(z, [0, 0, 1.0])
    x /= np.linalg.norm(x)
    return se3.make_pose(np.stack([x, np.cross(z, x), z], -1), position)


def random_camera(rng: np.random.Generator) -> np.ndarray:
    """Draw a ``(4, 4)`` camera pose near the nominal one: up to 1 degree and 15 mm per axis."""
    tilt = Rotation.from_rotvec(np.radians(rng.uniform(-1, 1, 3)))
    T_nominal = look_at(CAMERA_POSITION, CAMERA_TARGET)
    return se3.make_pose(T_nominal[:3, :3] @ tilt.as_matrix(), T_nominal[:3, 3] + rng.uniform(-0.015, 0.015, 3))


CAMERAS = ("nominal", "10cm", "25cm", "other_side", "front", "higher", "lower")
"""Camera names of `camera_at`."""


def camera_at(place: str, seed: int) -> np.ndarray:
    """Return ``(4, 4)`` T_base_cam of a named camera, jittered like `random_camera`.

    "10cm" and "25cm" are shifted from the nominal position in a direction drawn per scene, with the same target.
    "other_side" mirrors the nominal position in the robot's plane of symmetry. "front" faces the robot. "higher" and
    "lower" are 25 cm above and 15 cm below the nominal position.

    Raises:
        ValueError: unknown name.
    """
    if place not in CAMERAS:
        raise ValueError(f"camera: {place!r}, must be one of {CAMERAS}")
    rng = np.random.default_rng([seed, 17])
    position, target = CAMERA_POSITION.copy(), CAMERA_TARGET.copy()
    if place.endswith("cm"):
        way = rng.normal(size=3)
        position += 0.01 * float(place.removesuffix("cm")) * way / np.linalg.norm(way)
    elif place == "other_side":
        position[1], target[1] = -position[1], -target[1]
    elif place == "front":
        position, target = np.array([1.20, 0.0, 0.50]), np.array([0.50, 0.0, 0.10])
    elif place != "nominal":
        position[2] += 0.25 if place == "higher" else -0.15
    tilt = Rotation.from_rotvec(np.radians(rng.uniform(-1, 1, 3))).as_matrix()
    T = look_at(position + rng.uniform(-0.015, 0.015, 3), target)
    return se3.make_pose(T[:3, :3] @ tilt, T[:3, 3])


def camera_around(rng: np.random.Generator) -> np.ndarray:
    """Draw a ``(4, 4)`` camera pose anywhere around the workspace: from the right, the front or the left.

    The azimuth about the workspace is uniform, from 30 degrees behind a robot's side to 30 degrees behind the other.
    Distances are 0.62 to 0.95 m and heights 0.32 to 0.78 m above the table.
    """
    azimuth = float(rng.uniform(-np.radians(30), np.radians(210)))  # 0 = right, 90 degrees = front
    target = np.array([rng.uniform(0.44, 0.54), rng.uniform(-0.06, 0.06), rng.uniform(0.02, 0.12)])
    reach, height = float(rng.uniform(0.62, 0.95)), float(rng.uniform(0.32, 0.78))
    flat = float(np.sqrt(max(reach**2 - (height - target[2]) ** 2, 0.16)))
    position = target + [flat * np.sin(azimuth), -flat * np.cos(azimuth), height - target[2]]
    roll = Rotation.from_rotvec(rng.uniform(-0.05, 0.05, 3)).as_matrix()
    T = look_at(position, target)
    return se3.make_pose(T[:3, :3] @ roll, T[:3, 3])


def random_grey(rng: np.random.Generator) -> tuple[float, ...]:
    """Draw a table colour: light, slightly warm grey, RGBA."""
    grey = rng.uniform(0.55, 0.8)
    return (grey, grey * 0.985, grey * 0.955, 1.0)


def random_joints(rng: np.random.Generator) -> np.ndarray:
    """Draw ``(7,)`` joint positions around DROID's home, radians."""
    return np.array(DROID.home) + rng.uniform(-0.12, 0.12, 7)


def random_light(rng: np.random.Generator) -> float:
    """Draw a brightness factor."""
    return float(rng.uniform(0.85, 1.1))


def random_room(rng: np.random.Generator) -> Room:
    """Draw an environment with the camera near its nominal pose."""
    return Room(random_joints(rng), random_camera(rng), random_grey(rng), random_light(rng))


def varied_room(rng: np.random.Generator) -> Room:
    """Draw an environment for training data, with varied camera, lens, table and light.

    The camera is on either side of the robot, anywhere in a shell about the workspace. Three quarters are on the right,
    like the benchmark's camera (the only side in paper C.1).
    """
    side, azimuth = float(rng.choice([-1, 1], p=[0.75, 0.25])), float(rng.uniform(-0.5, 0.9))
    target = np.array([rng.uniform(0.44, 0.54), rng.uniform(-0.05, 0.10), rng.uniform(0.02, 0.10)])
    reach, height = float(rng.uniform(0.62, 0.85)), float(rng.uniform(0.40, 0.62))
    flat = float(np.sqrt(max(reach**2 - (height - target[2]) ** 2, 0.25)))
    position = target + [flat * np.sin(azimuth), side * flat * np.cos(azimuth), height - target[2]]
    T_nominal = look_at(position, target)
    roll = Rotation.from_rotvec(rng.uniform(-0.05, 0.05, 3)).as_matrix()
    color = rng.uniform(0.25, 0.9) * (1.0 - rng.uniform(0.0, 0.25) * rng.uniform(0, 1, 3))
    other = color * rng.uniform(0.75, 0.97)
    return Room(
        start_joints=random_joints(rng),
        T_base_cam=se3.make_pose(T_nominal[:3, :3] @ roll, T_nominal[:3, 3]),
        table_color=(*(float(c) for c in color), 1.0),
        light=float(rng.uniform(0.65, 1.25)),
        focal=float(FULL_FOCAL * rng.uniform(0.85, 1.1)),
        pattern=(*(float(c) for c in other), 1.0) if rng.uniform() < 0.5 else None,
    )


def build(
    room: Room, add_bodies: Callable[[mujoco.MjSpec], None], camera_fovy: float, visual: bool = False
) -> mujoco.MjModel:
    """Compile the station with a task's bodies.

    Args:
        add_bodies: adds the bodies to the model; may change the physics options set before.
        camera_fovy: vertical field of view of the camera ``zed`` in degrees.
        visual: draw the arm's detailed meshes, for pictures.
    """
    spec = robot.arm_spec(visual=visual)
    gripper.attach(spec)
    spec.option.timestep = TIMESTEP
    spec.option.cone = mujoco.mjtCone.mjCONE_ELLIPTIC
    spec.option.impratio = 30
    spec.option.integrator = mujoco.mjtIntegrator.mjINT_IMPLICITFAST
    spec.stat.extent, spec.stat.center = 1.0, [0.4, 0, 0.3]
    spec.visual.map.znear, spec.visual.map.zfar = 0.05, 12.0
    spec.visual.headlight.ambient = [0.38 * room.light] * 3
    spec.visual.headlight.diffuse = [0.22 * room.light] * 3
    spec.visual.headlight.specular = [0.05] * 3
    # The framebuffer belongs to the context and must fit the largest requested picture.
    spec.visual.global_.offwidth, spec.visual.global_.offheight = 1920, 1080
    if not visual:
        spec.visual.quality.shadowsize, spec.visual.quality.offsamples = 0, 0
    else:
        spec.visual.quality.shadowsize, spec.visual.quality.offsamples = 4096, 4
    _add_room(spec, room)
    add_bodies(spec)
    # MuJoCo's cameras look along -z with y up; the optical frame looks along +z with y down.
    R = room.T_base_cam[:3, :3] @ np.diag([1.0, -1.0, -1.0])
    x, y, z, w = Rotation.from_matrix(R).as_quat()
    spec.worldbody.add_camera(name="zed", pos=room.T_base_cam[:3, 3], quat=[w, x, y, z], fovy=camera_fovy)
    return spec.compile()


def _add_room(spec: mujoco.MjSpec, room: Room) -> None:
    world = spec.worldbody
    box = mujoco.mjtGeom.mjGEOM_BOX
    spec.add_texture(
        name="sky",
        type=mujoco.mjtTexture.mjTEXTURE_SKYBOX,
        builtin=mujoco.mjtBuiltin.mjBUILTIN_GRADIENT,
        rgb1=[0.86, 0.88, 0.90],
        rgb2=[0.62, 0.65, 0.69],
        width=64,
        height=384,
    )
    table = world.add_geom(
        name="table", type=box, size=[0.55, 0.75, 0.02], pos=[0.35, 0.0, -0.02], rgba=room.table_color, **contacts.WORLD
    )
    if room.pattern is not None:
        spec.add_texture(
            name="pattern",
            type=mujoco.mjtTexture.mjTEXTURE_2D,
            builtin=mujoco.mjtBuiltin.mjBUILTIN_CHECKER,
            width=128,
            height=128,
            rgb1=room.table_color[:3],
            rgb2=room.pattern[:3],
        )
        material = spec.add_material(name="pattern", texrepeat=[9, 12], rgba=[1, 1, 1, 1])
        material.textures[mujoco.mjtTextureRole.mjTEXROLE_RGB] = "pattern"
        table.material, table.rgba = "pattern", [1, 1, 1, 1]
    edge = np.array(room.table_color) * [0.55, 0.55, 0.55, 1]
    world.add_geom(type=box, size=[0.551, 0.751, 0.006], pos=[0.35, 0.0, -0.034], rgba=edge, **contacts.SCENERY)
    for x in (-0.15, 0.85):
        for y in (-0.7, 0.7):
            world.add_geom(
                type=box, size=[0.03, 0.03, 0.34], pos=[x, y, -0.38], rgba=[0.25, 0.26, 0.28, 1], **contacts.SCENERY
            )
    world.add_geom(
        name="floor", type=box, size=[4, 4, 0.01], pos=[0, 0, -0.73], rgba=[0.45, 0.46, 0.48, 1], **contacts.SCENERY
    )
    world.add_geom(
        name="wall", type=box, size=[4, 0.05, 1.6], pos=[0, 2.2, 0.8], rgba=[0.75, 0.76, 0.77, 1], **contacts.SCENERY
    )
    k = 0.45 * room.light
    world.add_light(
        pos=[0.2, -0.6, 1.8],
        dir=[0.15, 0.35, -1],
        diffuse=[k] * 3,
        specular=[0.12] * 3,
        type=mujoco.mjtLightType.mjLIGHT_DIRECTIONAL,
        castshadow=True,
    )
    world.add_light(
        pos=[0.9, 0.8, 1.6],
        dir=[-0.3, -0.5, -1],
        diffuse=[0.5 * k] * 3,
        specular=[0] * 3,
        type=mujoco.mjtLightType.mjLIGHT_DIRECTIONAL,
        castshadow=False,
    )
