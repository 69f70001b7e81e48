"""Well-formed inputs that are plainly wrong (`uma.policy.plausible`), and references that could mean two things."""

import dataclasses

import numpy as np
import pytest
from scenes import CAMERA, reference, scene

from uma.policy import plausible
from uma.types import InputError, ReferenceMotion


def placed(position) -> object:
    o = scene()
    T = o.T_cam_ee.copy()
    T[:3, 3] = position
    return dataclasses.replace(o, T_cam_ee=T)


def test_depth_in_millimetres_is_detected():
    o = scene()
    plausible.check_depth(o)
    plausible.check_depth(
        dataclasses.replace(o, depth=np.full_like(o.depth, np.nan))
    )  # refused elsewhere, for another reason
    with pytest.raises(InputError, match=r"depth: median \d+ m, must be at most 20 m; is it in millimetres\?"):
        plausible.check_depth(dataclasses.replace(o, depth=o.depth * 1000))


@pytest.mark.parametrize(
    ("position", "message"),
    [
        ([0.0, 0.0, -0.5], "the end effector is -0.50 m before the camera, must be 0.05 to 3 m"),
        ([0.0, 0.0, 4.0], "the end effector is 4.00 m before the camera"),
        ([1.5, 0.0, 0.8], "projects to u = 203 px, must be -80 to 240 for an image of 160"),
        ([2.5, 0.0, 0.8], "projects to u = 286 px, must be -80 to 240 for an image of 160"),
        ([0.0, -1.5, 0.8], "projects to v = -79 px, must be -45 to 135 for an image of 90"),
    ],
)
def test_an_end_effector_out_of_view_is_refused(position, message):
    if "203" in message:  # a little beside the image is where a hand may be
        plausible.check_end_effector(placed(position))
        return
    with pytest.raises(InputError, match=message):
        plausible.check_end_effector(placed(position))


def test_a_reference_away_from_everything_is_refused():
    cloud = np.array([[0.0, 0.0, 1.0], [0.1, 0.0, 1.0]])
    plausible.check_starts(np.array([[0.0, 0.29, 1.0], [0.1, 0.0, 0.9]]), cloud)
    with pytest.raises(InputError, match=r"keypoints\[1\].waypoints\[0\]: .* 0.31 m from the nearest visible point"):
        plausible.check_starts(np.array([[0.0, 0.0, 1.0], [0.1, 0.31, 1.0]]), cloud)


def test_points_in_a_flat_list_are_not_taken_for_pinned_ones():
    with pytest.raises(
        InputError, match=r"keypoints\[0\].waypoints: shape \(3,\), must be \(T, 3\); \[\[x, y, z\]\] pins"
    ):
        ReferenceMotion([[0, 0, 1], [0, 0.1, 1]])
    with pytest.raises(InputError, match=r"keypoints\[0\].waypoints: shape \(2, 2\), must be \(T, 3\)"):
        ReferenceMotion([[[0, 0], [0, 1]]])
    one = ReferenceMotion([[[0, 0, 1], [0, 0.1, 1]]])
    assert len(one.waypoints) == 1 and one.waypoints[0].shape == (2, 3)
    several = ReferenceMotion(np.zeros((5, 2, 3)) + [0, 0, 1])
    assert len(several.waypoints) == 5 and several.waypoints[4].shape == (2, 3)
    pinned = ReferenceMotion([[[0, 0, 1]], [[0, 0, 1], [0, 0.1, 1]]])
    assert [len(w) for w in pinned.waypoints] == [1, 2]
    assert reference().frame == CAMERA.frame
