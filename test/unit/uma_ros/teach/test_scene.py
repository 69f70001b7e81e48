"""The page's cloud is cropped and bounded, a click meets the visible point, and a moved object is noticed."""

import numpy as np
import pytest
from teaching import BOX, CAMERA, T_BASE_CAM, drawn, ray_to

from uma.geometry import fr3
from uma.sketch.segment import analyse, select
from uma.types import InputError
from uma_ros.teach.scene import Box, View, cloud, moved, pick, surface_without


def clicked(view):
    pixel = pick(view, *ray_to(BOX + [0, 0, 0.025]), Box())
    return select(analyse(view.rgb, view.depth, view.camera), pixel)


def test_cloud_lies_in_the_box_and_has_the_image_colours():
    box = Box(low=(0.3, -0.2, -0.05), high=(0.7, 0.2, 0.3))
    points, colors = cloud(drawn(), box)
    assert len(points) == len(colors) > 1000
    assert (points > box.low).all() and (points < box.high).all()
    top = points[:, 2] > 0.04
    assert top.any() and (colors[top, 0].astype(int) > colors[top, 1].astype(int) + 50).all()


@pytest.mark.parametrize("most", [500, 3000])
def test_cloud_is_bounded_whatever_the_voxel(most):
    points, _ = cloud(drawn(), Box(voxel=0.001, most=most))
    assert 0.2 * most < len(points) <= most


def test_a_frame_without_depth_gives_an_empty_cloud():
    view = drawn()
    empty = View(view.rgb, np.full_like(view.depth, np.nan), CAMERA, T_BASE_CAM, None, 0.0, 1.0)
    assert len(cloud(empty, Box())[0]) == 0
    with pytest.raises(InputError, match="no point of the cloud there"):
        pick(empty, *ray_to(BOX), Box())


def test_a_ray_meets_the_top_of_the_box_and_not_the_table_behind():
    view = drawn()
    u, v = pick(view, *ray_to(BOX + [0, 0, 0.025]), Box())
    assert np.linalg.norm(view.points_base[v, u] - BOX - [0, 0, 0.025]) < 0.012


@pytest.mark.parametrize(
    "origin, direction",
    [([0, 0, np.nan], [0, 0, 1]), ([0, 0, 1], [0, 0, 0]), ([0, 0], [0, 0, 1]), ([0, 0, 1], [np.inf, 0, 0])],
)
def test_a_malformed_ray_is_refused(origin, direction):
    with pytest.raises(InputError, match="must be two finite vectors"):
        pick(drawn(), origin, direction, Box())


def test_a_ray_to_the_sky_meets_nothing():
    with pytest.raises(InputError, match="must be on what the camera sees"):
        pick(drawn(), T_BASE_CAM[:3, 3], np.array([0.0, 0.0, 1.0]), Box())


def test_an_object_that_stays_has_not_moved():
    before = drawn(stamp=1.0)
    assert moved(before, drawn(stamp=2.0), clicked(before)) == ""


@pytest.mark.parametrize("x", [0.56, None])
def test_a_moved_or_removed_object_is_noticed(x):
    before = drawn(stamp=1.0)
    assert "the object moved since the click" in moved(before, drawn(x, stamp=2.0), clicked(before))


def test_a_moved_camera_is_noticed():
    before, now = drawn(), drawn(stamp=2.0)
    T = T_BASE_CAM.copy()
    T[0, 3] += 0.01
    assert "camera" in moved(before, View(now.rgb, now.depth, CAMERA, T, None, 0.0, 2.0), clicked(before))


def test_a_robot_before_the_object_hides_it():
    before, now = drawn(), drawn(stamp=2.0, joints=fr3.REST)
    mask = clicked(before)
    now.__dict__["is_robot"] = mask.copy()
    assert "the robot hides the object" in moved(before, now, mask)


def test_the_surface_is_without_the_object():
    view = drawn()
    assert surface_without(view, None)[:, 2].max() > 0.04
    assert surface_without(view, clicked(view))[:, 2].max() < 0.04
