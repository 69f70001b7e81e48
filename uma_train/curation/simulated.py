"""Clips of the simulated station with the truth beside them: for tests, benchmarks, and curated episodes without video.

Rendered at any size with the camera's noise. The truth is the object's pose, or the vertices of a cloth.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from uma.geometry import se3
from uma.geometry.camera import project, unproject
from uma.policy.demonstration import Robot
from uma.types import RATE_HZ, CameraModel, InputError
from uma_train.curation.clip import Clip
from uma_train.curation.views import View

SEEN_M = 0.010
"""A point counts as visible if the clean depth at its pixel agrees with it, metres."""


@dataclass(frozen=True)
class Simulated:
    """One simulated demonstration.

    Attributes:
        clip: what the curation may see.
        is_object: ``(H, W)`` bool, the object's true pixels in the first image.
        clean: ``(T, H, W)`` float32 metres, depth without noise, NaN where the camera has none.
        poses: ``(T, 4, 4)`` of the object's body in the base frame; None for a cloth.
        vertices: ``(T, R, C, 3)`` of a cloth in the base frame; None for a body.
    """

    clip: Clip
    is_object: np.ndarray
    clean: np.ndarray
    poses: np.ndarray | None
    vertices: np.ndarray | None

    def queried(self, clip: Clip) -> tuple[np.ndarray, np.ndarray]:
        """Return the ``(N, 2)`` pixels (u, v) of the first image that hold the queries of ``clip``, and ``(N,)`` bool,
        whether the object is truly there.

        Raises:
            InputError: the clip has no queries.
        """
        if clip.query is None:
            raise InputError(f"{clip.name}: query is unknown; the chain makes it")
        pixels = np.round(View(clip, 0).project(clip.query[:, 1:].astype(np.float64))[0]).astype(int)
        H, W = self.is_object.shape
        inside = (pixels >= 0).all(1) & (pixels < (W, H)).all(1)
        u, v = np.where(inside[:, None], pixels, 0).T
        return pixels, inside & self.is_object[v, u] & np.isfinite(self.clean[0][v, u])

    def follow(self, pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the true motion of the surface points that ``(N, 2)`` pixels (u, v) of the first image show.

        Returns:
            ``(T, N, 3)`` metres in the base frame, and ``(T, N)`` whether visible within `SEEN_M`.
        """
        camera, T = self.clip.camera(0), self.clip.extrinsics
        assert T is not None
        seen = unproject(self.clean[0], camera)[pixels[:, 1], pixels[:, 0]].astype(np.float64)
        start = se3.apply(se3.invert(T[0]), seen)
        if self.poses is not None:
            local = se3.apply(se3.invert(self.poses[0]), start)
            x = np.stack([se3.apply(pose, local) for pose in self.poses])
        else:
            assert self.vertices is not None
            x = on_cloth(self.vertices, start)
        return x, np.stack([shows(self.clean[t], camera, se3.apply(T[t], x[t])) for t in range(len(x))])


def shows(depth: np.ndarray, camera: CameraModel, points_cam: np.ndarray) -> np.ndarray:
    """Return ``(N,)`` bool: points whose depth agrees with the image's within `SEEN_M`."""
    uv = np.nan_to_num(np.round(project(points_cam, camera)), nan=-1).astype(int)
    inside = (uv >= 0).all(1) & (uv[:, 0] < camera.width) & (uv[:, 1] < camera.height)
    u, v = np.where(inside[:, None], uv, 0).T
    return inside & (np.abs(np.nan_to_num(depth[v, u], nan=-9.0) - points_cam[:, 2]) < SEEN_M)


def on_cloth(vertices: np.ndarray, start: np.ndarray) -> np.ndarray:
    """Return ``(T, N, 3)`` of points ``(N, 3)`` on a cloth ``(T, R, C, 3)``: fixed in its quads, off their plane."""
    T, R, C = vertices.shape[:3]
    V = vertices[0]
    e1, e2 = V[:-1, 1:] - V[:-1, :-1], V[1:, :-1] - V[:-1, :-1]
    d = start[:, None, None] - V[None, :-1, :-1]
    g11, g22, g12 = (e1 * e1).sum(-1), (e2 * e2).sum(-1), (e1 * e2).sum(-1)
    b1, b2 = (d * e1).sum(-1), (d * e2).sum(-1)
    det = g11 * g22 - g12 * g12
    s, t = (g22 * b1 - g12 * b2) / det, (g11 * b2 - g12 * b1) / det
    outside = np.maximum(np.maximum(-s, s - 1), np.maximum(-t, t - 1))
    best = outside.reshape(len(start), -1).argmin(1)
    r, c = np.unravel_index(best, (R - 1, C - 1))
    n = np.arange(len(start))
    s, t = s[n, r, c][None, :, None], t[n, r, c][None, :, None]

    def frame(W: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        a, b, p, q = W[:, r, c], W[:, r, c + 1], W[:, r + 1, c], W[:, r + 1, c + 1]
        middle = (1 - s) * (1 - t) * a + s * (1 - t) * b + (1 - s) * t * p + s * t * q
        normal = np.cross((1 - t) * (b - a) + t * (q - p), (1 - s) * (p - a) + s * (q - b))
        return middle, normal / np.linalg.norm(normal, axis=-1, keepdims=True)

    middle, normal = frame(vertices)
    off = ((start - middle[0]) * normal[0]).sum(-1)
    return middle + off[None, :, None] * normal


def simulate(task: str, seed: int, width: int = 640, height: int = 360, steps: int = 400) -> Simulated:
    """Run the scripted expert without noise until the task's outcome, with every image.

    Raises:
        ValueError: unknown task.
    """
    from uma_sim import experts
    from uma_sim.robot import camera as cameras
    from uma_sim.tasks import make_station

    station = make_station(seed, task, width=width, height=height, render=False)
    renderer, rng = cameras.Renderer(station.model), np.random.default_rng([seed, 1])
    expert = experts.expert(task, station.scene.goal)
    rows: dict[str, list] = {k: [] for k in ("rgb", "depth", "clean", "body", "pose", "grip", "joints", "T", "g")}
    try:
        labels = renderer.labels(station.data, width, height)
        is_object = np.isin(labels, list(station.object.bodies))
        for _ in range(min(steps, station.task.max_steps)):
            rgb, depth = renderer.render(station.data, width, height)
            _, clean = cameras.sense(rgb, depth, station.camera, None)
            rgb, noisy = cameras.sense(rgb, depth, station.camera, rng)
            T, grip = expert.act(station)
            vertices = getattr(station.object, "vertices", None)
            body = vertices().copy() if vertices else station.object_pose()
            state = (station.ee_pose(), station.gripper_position(), station.joint_positions())
            for key, value in zip(rows, (rgb, noisy, clean, body, *state, T, grip), strict=True):
                rows[key].append(value)
            station.act(T, grip)
            if station.task.outcome(station)[0] != "in_progress":
                break
        text, outcome = station.task.instruction(station, station.scene.goal), station.task.outcome(station)[0]
        is_cloth, camera, T_base_cam = vertices is not None, station.camera, station.T_base_cam
    finally:
        renderer.close()
        station.close()
    pose, gripper, joints, target, grips = (np.array(rows[k], np.float64) for k in ("pose", "grip", "joints", "T", "g"))
    count, body = len(pose), np.array(rows["body"])
    K = np.array([[camera.fx, 0, camera.cx], [0, camera.fy, camera.cy], [0, 0, 1]])
    clip = Clip(
        name=f"{task.replace('/', '-')}-{seed:07d}",
        video=np.array(rows["rgb"]),
        depths=np.array(rows["depth"]),
        intrinsics=np.tile(K, (count, 1, 1)),
        extrinsics=np.tile(se3.invert(T_base_cam), (count, 1, 1)),
        stamps=np.arange(count) / RATE_HZ,
        robot=Robot(T_base_cam, pose, np.clip(gripper, 0, 1), target, grips, ("commanded", "commanded"), joints),
        camera_frame=camera.frame,
        text=text,
        outcome="success" if outcome == "success" else "failure",
        source="uma_sim",
    )
    return Simulated(clip, is_object, np.array(rows["clean"]), None if is_cloth else body, body if is_cloth else None)
