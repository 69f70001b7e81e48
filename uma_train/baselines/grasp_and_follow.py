"""A scripted baseline without a network: grasps at the start of the reference, then follows its rigid motion.

It has the policy's inputs (the image, for the table's plane; the measured end effector) and no simulator state. It
measures how much of a task the reference alone determines.
"""

from __future__ import annotations

import numpy as np

from uma.geometry import se3
from uma.geometry.camera import unproject
from uma.geometry.point_cloud import fit_plane
from uma.types import HORIZON, ActionChunk, Observation, ReferenceMotion

APPROACH_M = 0.12
STEP_M, STEP_RAD = 0.04, 0.11
CLOSE_STEPS, OPEN_STEPS = 10, 6


class GraspAndFollow:
    """Open-loop in the object, closed-loop in the end effector: reaches a list of poses one after another.

    Args:
        observation: o_0.
        reference: in the camera frame; waypoints with the same index count as simultaneous.
        ee_frame: end-effector frame of the poses; z points out of the gripper and x along the pads' faces.
        executed: executed actions of each chunk; the plan continues after them.
    """

    def __init__(self, observation: Observation, reference: ReferenceMotion, ee_frame: str, *, executed: int = 8):
        self.ee_frame, self.executed = ee_frame, executed
        cloud = unproject(observation.depth, observation.camera).reshape(-1, 3)
        cloud = cloud[np.isfinite(cloud).all(1)]
        plane = fit_plane(cloud[cloud[:, 2] < 1.8])
        up = plane[:3]
        moving = [w for w in reference.waypoints if len(w) > 1]
        count = min(len(w) for w in moving) if moving else 1
        points = (
            np.stack([w[np.linspace(0, len(w) - 1, count).round().astype(int)] for w in moving])
            if moving
            else np.stack([w[:1] for w in reference.waypoints])
        )
        start = points[:, 0]
        middle = start.mean(0)
        axis = (
            np.linalg.svd(start - middle, full_matrices=False)[2][0] if len(start) > 1 else observation.T_cam_ee[:3, 0]
        )
        axis = axis - (axis @ up) * up
        axis /= max(np.linalg.norm(axis), 1e-9)
        z = -up
        x = axis if axis @ observation.T_cam_ee[:3, 0] >= 0 else -axis  # the nearer of both orientations
        grasp = se3.make_pose(np.stack([x, np.cross(z, x), z], -1), middle)
        above = grasp.copy()
        above[:3, 3] += APPROACH_M * up
        motions = [
            se3.fit_rigid(start, points[:, t]) @ grasp
            if len(start) >= 3
            else se3.make_pose(grasp[:3, :3], points[:, t].mean(0))
            for t in range(1, count)
        ]
        last = motions[-1] if motions else grasp
        retreat = last.copy()
        retreat[:3, 3] -= 0.1 * last[:3, 2]
        # (pose, gripper, steps to stay at the pose)
        self.plan = [
            (above, 0.0, 0),
            (grasp, 0.0, 0),
            (grasp, 1.0, CLOSE_STEPS),
            *((T, 1.0, 0) for T in motions),
            (last, 0.0, OPEN_STEPS),
            (retreat, 0.0, 10**6),
        ]
        self.stage, self.waited = 0, 0

    def act(self, observation: Observation, sequence: int = 0) -> ActionChunk:
        """Return the next chunk, as if every step were reached exactly."""
        T, poses, grips = observation.T_cam_ee, [], []
        stage, waited = self.stage, self.waited
        for i in range(HORIZON):
            goal, grip, stay = self.plan[stage]
            T = se3.clip_step(T, goal, STEP_M, STEP_RAD)
            poses.append(T)
            grips.append(grip)
            is_there = (
                np.linalg.norm(T[:3, 3] - goal[:3, 3]) < 0.004 and se3.rotation_angle(T[:3, :3], goal[:3, :3]) < 0.05
            )
            waited = waited + 1 if is_there else 0
            if is_there and waited > stay and stage + 1 < len(self.plan):
                stage, waited = stage + 1, 0
            if i == self.executed - 1:
                self.stage, self.waited = stage, waited
        return ActionChunk(
            np.stack(poses),
            np.array(grips),
            observation.stamp,
            observation.camera.frame,
            self.ee_frame,
            sequence=sequence,
        )
