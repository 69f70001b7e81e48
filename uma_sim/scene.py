"""Random scenes for insertion: what stands where, and the MuJoCo model of it. Everything follows from one seed."""

from __future__ import annotations

from dataclasses import dataclass

import mujoco
import numpy as np
from scipy.spatial.transform import Rotation

from uma.geometry import se3
from uma_sim import contacts, gripper, holders, robot, utensils
from uma_sim.holders import Holder
from uma_sim.utensils import Utensil

TIMESTEP = 0.002
"""Physics step in seconds."""

CAMERA_POSITION = np.array([0.50, -0.52, 0.50])
CAMERA_TARGET = np.array([0.49, 0.16, 0.13])
"""Nominal camera: on the robot's right, looking across the workspace. Metres, base frame."""


@dataclass(frozen=True)
class Scene:
    """One drawn scene.

    Attributes:
        utensil, utensil_position (3,), utensil_yaw: what lies on the table, where, radians.
        holders: two holders alike in everything but place.
        goal: index of the holder that the utensil should go into; only the reference motion tells.
        start_joints: ``(7,)`` radians.
        T_base_cam: ``(4, 4)`` pose of the camera's optical frame.
        holder_color, table_color: RGBA.
        light: brightness factor.
    """

    utensil: Utensil
    utensil_position: np.ndarray
    utensil_yaw: float
    holders: tuple[Holder, Holder]
    goal: int
    start_joints: np.ndarray
    T_base_cam: np.ndarray
    holder_color: tuple[float, ...]
    table_color: tuple[float, ...]
    light: float


def look_at(position: np.ndarray, target: np.ndarray) -> np.ndarray:
    """``(4, 4)`` pose of an optical frame (x right, y down, z forward) at ``position`` that looks at ``target``."""
    z = (target - position) / np.linalg.norm(target - position)
    x = np.cross(z, [0, 0, 1.0])
    x /= np.linalg.norm(x)
    return se3.make_pose(np.stack([x, np.cross(z, x), z], -1), position)


def sample(seed: int, shape: str | None = None) -> Scene:
    """Draw the scene of ``seed``; ``shape`` fixes the utensil's kind and leaves the rest as drawn."""
    rng = np.random.default_rng(seed)
    utensil = utensils.sample(rng, shape)
    half_opening, height = float(rng.uniform(0.0375, 0.045)), float(rng.uniform(0.08, 0.11))
    sides = int(rng.choice([4, 8]))
    near = (float(rng.uniform(0.51, 0.64)), float(rng.uniform(0.12, 0.16)))
    far = (float(rng.uniform(0.51, 0.64)), float(rng.uniform(0.27, 0.32)))
    pair = tuple(Holder(c, float(rng.uniform(-0.4, 0.4)), half_opening, height, sides) for c in (near, far))
    goal = int(rng.integers(2))
    while True:
        position = np.array([rng.uniform(0.38, 0.62), rng.uniform(-0.25, 0.0), utensil.handle_thickness / 2 + 0.004])
        yaw = float(rng.uniform(-np.pi, np.pi))
        axis = np.array([np.cos(yaw), np.sin(yaw)])
        # Keep the utensil, and the open gripper above it, clear of the holders.
        stations = position[:2] + np.linspace(-1, 1, 5)[:, None] * utensil.half_length * axis
        if np.linalg.norm(stations[:, None] - np.array([near, far])[None], axis=-1).min() > half_opening + 0.055:
            break
    tilt = Rotation.from_rotvec(np.radians(rng.uniform(-1, 1, 3)))
    T_nominal = look_at(CAMERA_POSITION, CAMERA_TARGET)
    T_base_cam = se3.make_pose(T_nominal[:3, :3] @ tilt.as_matrix(), T_nominal[:3, 3] + rng.uniform(-0.015, 0.015, 3))
    grey = rng.uniform(0.55, 0.8)
    return Scene(
        utensil=utensil,
        utensil_position=position,
        utensil_yaw=yaw,
        holders=pair,
        goal=goal,
        start_joints=robot.HOME + rng.uniform(-0.12, 0.12, 7),
        T_base_cam=T_base_cam,
        holder_color=utensils.vivid(rng),
        table_color=(grey, grey * 0.985, grey * 0.955, 1.0),
        light=float(rng.uniform(0.85, 1.1)),
    )


def build(scene: Scene, camera_fovy: float, visual: bool = False) -> mujoco.MjModel:
    """Compile the station with ``scene`` in it.

    Args:
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
    spec.visual.headlight.ambient = [0.38 * scene.light] * 3
    spec.visual.headlight.diffuse = [0.22 * scene.light] * 3
    spec.visual.headlight.specular = [0.05] * 3
    # The framebuffer belongs to the context and is as large as the largest picture asked for.
    spec.visual.global_.offwidth, spec.visual.global_.offheight = 1920, 1080
    if not visual:
        spec.visual.quality.shadowsize, spec.visual.quality.offsamples = 0, 0
    else:
        spec.visual.quality.shadowsize, spec.visual.quality.offsamples = 4096, 4
    _add_room(spec, scene)
    utensils.add_body(spec, scene.utensil, scene.utensil_position, scene.utensil_yaw)
    for i, holder in enumerate(scene.holders):
        holders.add_body(spec, holder, f"holder{i}", scene.holder_color)
    # MuJoCo's cameras look along -z with y up; the optical frame looks along +z with y down.
    R = scene.T_base_cam[:3, :3] @ np.diag([1.0, -1.0, -1.0])
    x, y, z, w = Rotation.from_matrix(R).as_quat()
    spec.worldbody.add_camera(name="zed", pos=scene.T_base_cam[:3, 3], quat=[w, x, y, z], fovy=camera_fovy)
    return spec.compile()


def _add_room(spec: mujoco.MjSpec, scene: Scene) -> None:
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
    world.add_geom(name="table", type=box, size=[0.55, 0.75, 0.02], pos=[0.35, 0.0, -0.02], rgba=scene.table_color, **contacts.WORLD)
    edge = np.array(scene.table_color) * [0.55, 0.55, 0.55, 1]
    world.add_geom(type=box, size=[0.551, 0.751, 0.006], pos=[0.35, 0.0, -0.034], rgba=edge, **contacts.SCENERY)
    for x in (-0.15, 0.85):
        for y in (-0.7, 0.7):
            world.add_geom(type=box, size=[0.03, 0.03, 0.34], pos=[x, y, -0.38], rgba=[0.25, 0.26, 0.28, 1], **contacts.SCENERY)
    world.add_geom(name="floor", type=box, size=[4, 4, 0.01], pos=[0, 0, -0.73], rgba=[0.45, 0.46, 0.48, 1], **contacts.SCENERY)
    world.add_geom(name="wall", type=box, size=[4, 0.05, 1.6], pos=[0, 2.2, 0.8], rgba=[0.75, 0.76, 0.77, 1], **contacts.SCENERY)
    k = 0.45 * scene.light
    world.add_light(
        pos=[0.2, -0.6, 1.8], dir=[0.15, 0.35, -1], diffuse=[k] * 3, specular=[0.12] * 3, type=mujoco.mjtLightType.mjLIGHT_DIRECTIONAL, castshadow=True
    )
    world.add_light(
        pos=[0.9, 0.8, 1.6], dir=[-0.3, -0.5, -1], diffuse=[0.5 * k] * 3, specular=[0] * 3, type=mujoco.mjtLightType.mjLIGHT_DIRECTIONAL, castshadow=False
    )
