"""The robot's pixels from its joints: capsules that follow the arm, and coverage of the rendered robot."""

import numpy as np
import pytest
from tables import CAMERA, T_BASE_CAM, box, draw

from uma.geometry import fr3, se3
from uma.geometry.camera import project, unproject
from uma.robot import DROID
from uma.sketch.robot_mask import robot_capsules, robot_mask
from uma.types import InputError
from uma_sim.tasks import make_station


def test_capsules_follow_the_tool():
    for turn in (0.0, 0.7):
        q = fr3.REST + turn * np.eye(7)[0]
        tip = (fr3.forward(q) @ DROID.T_flange_ee.matrix())[:3, 3]
        ends, radii = robot_capsules(q)
        assert np.linalg.norm(ends.reshape(-1, 3) - tip, axis=1).min() < 0.05 + radii.min()
    assert not np.allclose(robot_capsules(fr3.REST)[0], robot_capsules(fr3.REST, 1.0)[0])


def test_points_at_the_tool_are_the_robots_and_the_table_is_not():
    rgb, depth, label = draw([box(0.6, 0.1)])
    points = unproject(depth, CAMERA)
    mask = robot_mask(points, CAMERA, T_BASE_CAM, fr3.REST)
    assert not mask[label == 1].any()
    T_base_ee = fr3.forward(fr3.REST) @ DROID.T_flange_ee.matrix()
    tool = se3.apply(se3.invert(T_BASE_CAM) @ T_base_ee, np.array([0.0, 0.0, -0.05]))
    u, v = np.round(project(tool, CAMERA)).astype(int)
    assert 0 <= u < CAMERA.width and 0 <= v < CAMERA.height
    points[v, u] = tool
    assert robot_mask(points, CAMERA, T_BASE_CAM, fr3.REST)[v, u]
    points[v, u] = np.nan  # a pixel without depth counts by its line of sight
    assert robot_mask(points, CAMERA, T_BASE_CAM, fr3.REST)[v, u]


def test_bad_joints_and_points_are_refused():
    points = np.zeros((CAMERA.height, CAMERA.width, 3))
    with pytest.raises(InputError, match="joints: .*must be 7 finite numbers"):
        robot_mask(points, CAMERA, T_BASE_CAM, np.full(7, np.nan))
    with pytest.raises(InputError, match="points_cam: shape"):
        robot_mask(points[1:], CAMERA, T_BASE_CAM, fr3.REST)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_rendered_robot_is_covered_and_the_objects_are_not(seed):
    station = make_station(seed, "insertion")
    seen, labels = station.observe(), station.labels()
    robot = int(station.model.body_rootid[station.model.body("fr3_link7").id])
    points = unproject(seen.depth, seen.camera)
    mask = robot_mask(points, seen.camera, seen.T_base_cam, station.joint_positions(), seen.gripper)
    objects = (labels > 0) & (labels != robot)
    assert objects.any() and mask[labels == robot].mean() > 0.97 and not mask[objects].any()
    station.close()
