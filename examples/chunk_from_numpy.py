"""From a numpy RGB-D frame to a chunk of 16 end-effector actions at 15 Hz."""

import numpy as np

from uma.geometry import se3
from uma.policy import Policy
from uma.types import CameraModel, Observation, ReferenceMotion
from uma_sim.tasks import make_station


def main() -> None:
    station = make_station(3, "insertion")  # stands in for your camera and robot
    seen, points_base = station.observe(), station.object_points()
    station.close()
    rgb, depth = seen.rgb, seen.depth  # (H, W, 3) uint8; (H, W) float32 metres, NaN where invalid
    T_base_cam, T_cam_ee = seen.T_base_cam, seen.T_cam_ee  # (4, 4), from the calibration and the robot

    height, width = depth.shape
    camera = CameraModel(width, height, fx=seen.camera.fx, fy=seen.camera.fy, cx=width / 2 - 0.5, cy=height / 2 - 0.5)
    observation = Observation(rgb, depth, camera, T_cam_ee, gripper=0.0, stamp=0.0, T_base_cam=T_base_cam)

    # The reference motion: three points of the object, from where they are to 15 cm above, in the camera frame.
    start = points_base[[0, 8, 15]]
    paths_base = np.stack([start, start + [0.0, 0.0, 0.15]], axis=1)  # (keypoints, waypoints, 3) metres
    reference = ReferenceMotion(tuple(se3.apply(se3.invert(T_base_cam), paths_base)), frame=camera.frame)

    policy = Policy.load("models/uma-small", threads=1)
    task = policy.encode_task(observation, reference)
    chunk = policy.predict(observation, task).chunk
    for i in (0, 7, 15):
        position = (T_base_cam @ chunk.poses[i])[:3, 3]
        print(f"action {i:2d}: {position.round(3)} m in the base frame, gripper {chunk.gripper[i]:.2f}")


if __name__ == "__main__":
    main()
