"""Goal reaching, on pictures of a textured box that moves by a known rigid motion."""

import numpy as np
import pytest
from box_scene import CAMERA, SIZE, T_WORLD_CAM, box_pose, draw, in_camera, textures
from scipy.spatial.transform import Rotation

from uma.geometry.camera import project, unproject
from uma.geometry.se3 import apply, invert, make_pose
from uma.policy.goal import MIN_PAIRS, SiftMatcher, goal_reference, lift, match_goal, share_one_motion
from uma.types import InputError, Observation


def observation(rgb: np.ndarray, depth: np.ndarray) -> Observation:
    return Observation(rgb, depth, CAMERA, np.eye(4), 0.0)


def off(reference, T_cam_motion: np.ndarray) -> np.ndarray:
    """Millimetres between each keypoint's goal and where the true motion takes it."""
    first, last = (np.stack([w[i] for w in reference.waypoints]) for i in (0, -1))
    return np.linalg.norm(apply(T_cam_motion, first) - last, axis=1) * 1e3


# -- lifting -----------------------------------------------------------------------------------------------------------


def test_whole_pixels_are_lifted_as_the_image_is_unprojected():
    rng = np.random.default_rng(0)
    depth = np.full((CAMERA.height, CAMERA.width), np.nan, np.float32)
    v, u = rng.integers(0, CAMERA.height, 50), rng.integers(0, CAMERA.width, 50)
    u[:4], v[:4] = [0, CAMERA.width - 1, 0, CAMERA.width - 1], [0, 0, CAMERA.height - 1, CAMERA.height - 1]
    depth[v, u] = rng.uniform(0.4, 2.0, 50)  # every neighbour is invalid, and none of them counts
    points, is_valid = lift(depth, CAMERA, np.stack([u, v], axis=1))
    assert is_valid.all() and np.allclose(points, unproject(depth, CAMERA)[v, u], atol=1e-6)


def test_slanted_plane_is_met_within_0_2_mm_between_pixels():
    _, depth, _ = draw(None, textures(np.random.default_rng(0)))
    pixels = np.random.default_rng(1).uniform([100, 200], [500, 350], (200, 2))
    points, is_valid = lift(depth, CAMERA, pixels)
    assert is_valid.all() and np.abs(apply(T_WORLD_CAM, points)[:, 2]).max() < 2e-4
    assert np.allclose(project(points, CAMERA), pixels, atol=1e-6)


@pytest.mark.parametrize("bad", [np.nan, 0.0, -1.0, np.inf])
def test_depth_is_never_interpolated_across_an_invalid_pixel(bad):
    depth = np.full((CAMERA.height, CAMERA.width), 1.0, np.float32)
    depth[100, 200] = bad
    near = np.array([[199.5, 100.0], [200.5, 100.5], [199.9, 99.1], [200.0, 100.0], [200.0, 100.4]])
    beside = np.array([[199.0, 100.0], [201.0, 100.7], [198.5, 100.0], [200.3, 98.9], [200.3, 99.0]])
    points, is_valid = lift(depth, CAMERA, near)
    assert not is_valid.any() and np.isnan(points).all()
    points, is_valid = lift(depth, CAMERA, beside)
    assert is_valid.all() and np.all(points[:, 2] == 1.0)


def test_neither_across_an_edge_nor_outside_the_image():
    depth = np.full((CAMERA.height, CAMERA.width), 1.0, np.float32)
    depth[:, 300:] = 0.8
    pixels = [[299.5, 50], [299.0, 50], [300.0, 50], [-0.1, 50], [639.1, 50], [5, 359.5], [np.nan, 5], [1e12, 5]]
    assert lift(depth, CAMERA, np.array(pixels))[1].tolist() == [False, True, True, False, False, False, False, False]


# -- from pairs to a reference
# ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def scene():
    """A box that is moved 20 cm and turned by 40 degrees."""
    faces = textures(np.random.default_rng(3))
    A, B = box_pose(-0.12, 0.0, 0.3), box_pose(0.08, 0.05, 1.0, z=0.02)
    (rgb, depth, is_box), (goal_rgb, goal_depth, is_goal_box) = draw(A, faces), draw(B, faces)
    return observation(rgb, depth), is_box, goal_rgb, goal_depth, is_goal_box, in_camera(A, B)


def true_pairs(scene, count: int = 300, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Pixels on the box, and where these points are in the goal image, whether or not they are seen there."""
    seen, is_box, *_, motion = scene
    v, u = np.nonzero(is_box)
    pick = np.random.default_rng(seed).choice(len(u), count, replace=False)
    return np.stack([u, v], axis=1)[pick].astype(float), project(
        apply(motion, unproject(seen.depth, CAMERA)[v, u][pick].astype(np.float64)), CAMERA
    )


def test_two_waypoints_of_at_most_16_keypoints_far_apart(scene):
    seen, _, _, goal_depth, _, motion = scene
    pixels, goal_pixels = true_pairs(scene)
    reference = goal_reference(seen, goal_depth, pixels, goal_pixels, object_label="box")
    assert len(reference.waypoints) == 16 and all(len(w) == 2 for w in reference.waypoints)
    assert reference.frame == "cam" and reference.object_label == "box"
    error = off(reference, motion)
    print(f"true pairs: {np.median(error):.2f} mm median, {error.max():.2f} mm at most")
    assert np.median(error) < 0.5 and error.max() < 15.0
    first = np.stack([w[0] for w in reference.waypoints])
    apart = np.linalg.norm(first[:, None] - first[None], axis=-1) + np.eye(16)
    assert apart.min() > 0.02, "16 of 300 drawn blindly lie closer"
    assert len(goal_reference(seen, goal_depth, pixels, goal_pixels, max_keypoints=5).waypoints) == 5


def test_wrong_pairs_are_dropped_unless_the_object_is_soft(scene):
    seen, _, _, goal_depth, _, motion = scene
    pixels, goal_pixels = true_pairs(scene)
    wrong = np.random.default_rng(1).permutation(len(pixels))[:100]
    goal_pixels[wrong] = np.random.default_rng(2).uniform([100, 200], [500, 350], (100, 2))
    assert off(goal_reference(seen, goal_depth, pixels, goal_pixels), motion).max() < 15.0
    assert off(goal_reference(seen, goal_depth, pixels, goal_pixels, rigid_tolerance=None), motion).max() > 50.0


def test_share_one_motion_finds_the_majority():
    rng = np.random.default_rng(0)
    points = rng.uniform(-0.1, 0.1, (40, 3))
    T = make_pose(Rotation.random(None, rng).as_matrix(), rng.uniform(-1, 1, 3))
    goal = apply(T, points) + rng.normal(0, 0.001, (40, 3))
    goal[25:] += rng.uniform(0.05, 0.2, (15, 3))
    assert share_one_motion(points, goal, 0.01).tolist() == [True] * 25 + [False] * 15


@pytest.mark.parametrize(
    "spoil, words",
    [
        (lambda o, d, a, b: (o, d[:-1], a, b), ["goal depth", "640x359", "640x360"]),
        (lambda o, d, a, b: (o, d, a, b[:-1]), ["goal pixels", "299, must be as many as the pixels, 300"]),
        (lambda o, d, a, b: (o, d, a[:2], b[:2]), ["2 matches left of 2", f"at least {MIN_PAIRS}"]),
        (lambda o, d, a, b: (o, d, a[:0], b[:0]), ["0 matches left of 0"]),
        (lambda o, d, a, b: (o, d * np.nan, a, b), ["0 matches left of 300 (0 have valid depth"]),
    ],
)
def test_what_cannot_be_a_reference_is_refused(scene, spoil, words):
    seen, _, _, goal_depth, _, _ = scene
    with pytest.raises(InputError) as refusal:
        goal_reference(*spoil(seen, goal_depth, *true_pairs(scene)))
    assert all(word in str(refusal.value) for word in words), refusal.value


# -- from images to a reference
# -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("masks", [True, False])
@pytest.mark.parametrize("seed", range(3))
def test_sift_finds_the_motion_of_a_box(seed, masks):
    rng = np.random.default_rng(seed)
    faces = textures(rng)
    A = box_pose(rng.uniform(-0.15, 0.0), rng.uniform(-0.05, 0.05), rng.uniform(-0.4, 0.4))
    B = box_pose(
        rng.uniform(0.05, 0.15), rng.uniform(-0.05, 0.1), rng.uniform(-0.4, 0.4), z=0.05, tilt=rng.uniform(-0.3, 0.3)
    )
    (rgb, depth, is_box), (goal_rgb, goal_depth, is_goal_box) = draw(A, faces), draw(B, faces)
    where = (is_box, is_goal_box) if masks else ()
    reference = match_goal(observation(rgb, depth), goal_rgb, goal_depth, SiftMatcher(), *where)
    error = off(reference, in_camera(A, B))
    print(
        f"seed {seed}, masks {masks}: {len(error)} keypoints, {np.median(error):.1f} mm median, "
        f"{error.max():.1f} mm at most"
    )
    first = np.stack([w[0] for w in reference.waypoints])
    on_box = np.abs(apply(invert(A) @ T_WORLD_CAM, first)) < SIZE / 2 + 0.006
    assert len(error) >= 6 and on_box.all() and np.median(error) < 3.0 and error.max() < 15.0


def test_matching_is_the_same_every_time(scene):
    seen, _, goal_rgb, _, _, _ = scene
    a, b = SiftMatcher()(seen.rgb, goal_rgb), SiftMatcher()(seen.rgb, goal_rgb)
    assert np.array_equal(a[0], b[0]) and np.array_equal(a[1], b[1]) and len(a[0]) >= 5


def test_images_without_anything_to_match_are_refused(scene):
    seen, _, goal_rgb, goal_depth, _, _ = scene
    with pytest.raises(InputError, match="0 matches left of 0"):
        match_goal(seen, np.zeros_like(goal_rgb), goal_depth, SiftMatcher())
    with pytest.raises(InputError, match="matches left"):
        match_goal(seen, seen.rgb, seen.depth, SiftMatcher())  # nothing moved
    with pytest.raises(InputError, match="goal image: 639x360 pixels, must be 640x360"):
        match_goal(seen, goal_rgb[:, :-1], goal_depth, SiftMatcher())
