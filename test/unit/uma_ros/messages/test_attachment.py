"""The calibration joins a camera's own tree at its root, so that every frame keeps one parent."""

import numpy as np
import pytest

from uma.geometry import se3
from uma.types import InputError
from uma_ros.messages.attachment import attachment
from uma_ros.messages.static_frames import StaticFrames

T_BASE_CAM = se3.make_pose([[0, 0, 1], [-1, 0, 0], [0, -1, 0]], [0.5, -0.5, 0.6])
T_LINK_CAM = se3.make_pose(np.eye(3), [0.0, 0.06, 0.01])
T_BODY_LINK = se3.make_pose([[0, -1, 0], [1, 0, 0], [0, 0, 1]], [0.1, 0.0, 0.0])
ZED = {"optical": ("left", T_LINK_CAM), "left": ("zed_link", T_BODY_LINK)}


def test_without_a_tree_the_optical_frame_is_placed():
    frame, T = attachment({"tool": ("flange", np.eye(4))}, "optical", "base", T_BASE_CAM)
    assert frame == "optical" and np.allclose(T, T_BASE_CAM)


def test_the_root_is_placed_so_that_the_optical_frame_fits():
    frame, T = attachment(ZED, "optical", "base", T_BASE_CAM)
    assert frame == "zed_link"
    frames = StaticFrames()
    for child, (parent, T_parent_child) in (ZED | {frame: ("base", T)}).items():
        frames.add(parent, child, T_parent_child)
    assert np.allclose(frames.lookup("base", "optical"), T_BASE_CAM)


@pytest.mark.parametrize(
    ("parents", "words"),
    [
        (ZED | {"zed_link": ("base", np.eye(4))}, "already below base by base > zed_link > left > optical"),
        (ZED | {"zed_link": ("optical", np.eye(4))}, "go round in a circle"),
    ],
)
def test_a_camera_that_is_placed_by_others_is_named(parents, words):
    with pytest.raises(InputError, match=words):
        attachment(parents, "optical", "base", T_BASE_CAM)
