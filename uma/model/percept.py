"""The model's view of an observation, in its policy frame."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from uma.geometry import se3
from uma.geometry.camera import normalized_uv, unproject_pixels
from uma.model.config import ModelConfig
from uma.model.frame import PolicyFrame, check_support
from uma.model.inputs import PointSet, point_set
from uma.types import ActionChunk, Grasp, Observation, ReferenceMotion

SUPPORT_STRIDE = 6
"""Stride of the depth samples, in rows and columns, for checking the supporting plane."""


@dataclass(frozen=True)
class Percept:
    """An observation in the policy frame.

    Attributes:
        points: the cloud with ``xyz`` in the policy frame; None if the sampler prepares it from ``observation``.
        T_frame_cam: ``(4, 4)``, maps camera coordinates to the policy frame.
        T_frame_ee: ``(4, 4)`` measured end-effector pose.
        gripper: measured, 0 open to 1 closed.
        camera: name of the camera's optical frame.
        image: ``(H, W, 3)`` uint8; None without image features.
        normalized_uv: ``(N, 2)`` in [-1, 1]; None without image features.
        observation: the image, if ``points`` is None.
        grasp: the grasp in force, in the camera frame; None while the gripper is open, or if unknown.
    """

    points: PointSet | None
    T_frame_cam: np.ndarray
    T_frame_ee: np.ndarray
    gripper: float
    camera: str
    image: np.ndarray | None = None
    normalized_uv: np.ndarray | None = None
    observation: Observation | None = None
    grasp: Grasp | None = None

    @property
    def cloud(self) -> PointSet:
        """`points`. Raises ValueError if the sampler prepares them."""
        if self.points is None:
            raise ValueError("points: None, must be a cloud; `perceive` draws it")
        return self.points

    def poses(self, poses_cam: np.ndarray) -> np.ndarray:
        """Map ``(..., 4, 4)`` poses from the camera frame to the policy frame."""
        return self.T_frame_cam @ poses_cam

    def positions(self, points_cam: np.ndarray) -> np.ndarray:
        """Map ``(..., 3)`` points from the camera frame to the policy frame."""
        return se3.apply(self.T_frame_cam, points_cam)

    def poses_cam(self, poses: np.ndarray) -> np.ndarray:
        """Map ``(..., 4, 4)`` poses from the policy frame to the camera frame."""
        return se3.invert(self.T_frame_cam) @ poses

    def positions_cam(self, points: np.ndarray) -> np.ndarray:
        """Map ``(..., 3)`` points from the policy frame to the camera frame."""
        return se3.apply(se3.invert(self.T_frame_cam), points)

    def reference(self, reference: ReferenceMotion) -> ReferenceMotion:
        """Map a reference motion from the camera frame to the policy frame."""
        return reference.transformed(self.T_frame_cam, reference.frame)

    def chunk(self, chunk: ActionChunk) -> ActionChunk:
        """Map a chunk from the camera frame to the policy frame."""
        return chunk.transformed(self.T_frame_cam, chunk.frame)


def unprepared(observation: Observation, frame: PolicyFrame) -> Percept:
    """Build a percept without its cloud, for a sampler that prepares it. The frame must not depend on the cloud.

    Raises:
        InputError: the frame cannot be established.
    """
    T = frame.from_camera(None, observation.T_base_cam)
    o = observation
    return Percept(None, T, T @ o.T_cam_ee, o.gripper, o.camera.frame, observation=o, grasp=o.grasp)


def perceive(observation: Observation, config: ModelConfig, frame: PolicyFrame) -> Percept:
    """Draw the cloud of an observation and map everything to the policy frame.

    Raises:
        InputError: the image shows no scene, or the frame cannot be established.
    """
    points = point_set(observation, config.points)
    if frame.kind == "table" and points.plane is not None:
        size = observation.depth.shape
        grid = np.arange(size[0] * size[1]).reshape(size)[::SUPPORT_STRIDE, ::SUPPORT_STRIDE].ravel()
        grid = grid[np.isfinite(observation.depth.ravel()[grid])]
        sample = unproject_pixels(observation.depth, grid, observation.camera)
        check_support(sample, points.plane, observation.T_cam_ee[:3, 3])
    T = frame.from_camera(points.plane, observation.T_base_cam)
    image = pixel = None
    if config.image.kind != "none":
        c = observation.camera
        image = observation.rgb
        pixel = normalized_uv(points.xyz[None], np.array([(c.fx, c.fy, c.cx, c.cy, c.width, c.height)]))[0]
    if frame.kind != "camera":
        points = replace(points, xyz=se3.apply(T, points.xyz.astype(np.float64)).astype(np.float32))
    o = observation
    return Percept(points, T, T @ o.T_cam_ee, o.gripper, o.camera.frame, image, pixel, grasp=o.grasp)
