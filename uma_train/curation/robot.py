"""The pixels of the robot, or of a person's hand, in an image of a clip."""

from __future__ import annotations

import numpy as np

from uma.geometry import se3
from uma.sketch.robot_mask import robot_mask
from uma_train.curation.views import View


def robot_pixels(view: View) -> np.ndarray:
    """Return the robot's pixels ``(H, W)`` bool by its joints; by the box of the gripper alone without them.

    Without a robot they are those of a person's hand, if it is known.
    """
    H, W = view.clip.video.shape[1:3]
    robot = view.clip.robot
    if robot is None and view.joints is None:
        return np.zeros((H, W), bool)
    v, u = np.mgrid[0:H, 0:W]
    if robot is None or robot.joints is None:
        world = view.lift(np.stack([u.ravel(), v.ravel()], 1).astype(np.float64), view.depth.ravel())
        return (view.by_hand(world, 0.06) & (view.depth.ravel() > 0)).reshape(H, W)
    depth = np.where(view.depth > 0, view.depth, np.float32(np.nan))
    fx, fy, cx, cy = view.K
    points = np.stack([(u - cx) / fx * depth, (v - cy) / fy * depth, depth], -1).astype(np.float32)
    grip = float(robot.gripper[view.t])
    return robot_mask(points, view.clip.camera(view.t), se3.invert(view.T), robot.joints[view.t], grip)


def near_robot(view: View, pixels: int) -> np.ndarray:
    """Return ``(H, W)`` bool: what lies within ``pixels`` of the robot."""
    import cv2

    return cv2.dilate(robot_pixels(view).astype(np.uint8), np.ones((2 * pixels + 1,) * 2, np.uint8)) > 0
