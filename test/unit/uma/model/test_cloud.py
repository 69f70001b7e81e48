"""The cloud of an image: the same density at every size, bounded work, and the definition's for small images."""

import numpy as np
import pytest
from scenes import CAMERA, scene
from scipy.spatial import cKDTree

from uma.geometry import se3
from uma.geometry.camera import unproject, unproject_pixels
from uma.geometry.point_cloud import farthest_points, fit_plane, plane_and_support, spread_points, voxel_indices
from uma.model import cloud, inputs
from uma.model.cloud import PIXELS, PointSet, grid_size, point_set, probe_pixels, representatives
from uma.model.config import base, small, tiny
from uma.types import CameraModel, InputError, Observation

SIZES = ((320, 180), (640, 360), (1280, 720))
MORE_SIZES = (*SIZES, (672, 376), (1920, 1080), (424, 240), (321, 181), (1280, 1024), (100_000, 2))


@pytest.fixture(scope="module")
def stations():
    """One simulated scene behind cameras of each size."""
    pytest.importorskip("mujoco")
    pytest.importorskip("franky_sim")
    from uma_sim.tasks import make_station

    made = {size: make_station(1_000_001, width=size[0], height=size[1]) for size in SIZES}
    yield made
    for station in made.values():
        station.close()


@pytest.fixture(scope="module")
def sights(stations):
    """Two observations of the scene per size, which differ by their noise."""
    return {size: (station.observe(), station.observe()) for size, station in stations.items()}


def chamfer(a: np.ndarray, b: np.ndarray) -> float:
    """Mean distance to the nearest point of the other cloud, both ways, metres."""
    return (cKDTree(a).query(b)[0].mean() + cKDTree(b).query(a)[0].mean()) / 2


def spacing(xyz: np.ndarray) -> float:
    """Median distance of distinct points to their nearest neighbour, metres."""
    xyz = np.unique(xyz, axis=0)
    return float(np.median(cKDTree(xyz).query(xyz, k=2)[0][:, 1]))


def naive_farthest(points: np.ndarray, count: int) -> np.ndarray:
    points = points.astype(np.float32)
    chosen = [((points - points.mean(0)) ** 2).sum(1).argmin()]
    distance = np.full(len(points), np.inf, np.float32)
    while len(chosen) < min(count, len(points)):
        step = points - points[chosen[-1]]
        distance = np.minimum(distance, np.einsum("ij,ij->i", step, step))
        chosen.append(distance.argmax())
    return np.array(chosen)


def naive_voxels(points: np.ndarray, size: float) -> np.ndarray:
    return np.sort(np.unique(np.floor(points / size).astype(np.int64), axis=0, return_index=True)[1])


def naive_point_set(o: Observation, config) -> PointSet:
    """The definition for an image that needs no reduction, step by step over all pixels."""
    xyz = unproject(o.depth, o.camera).reshape(-1, 3)
    keep = np.flatnonzero((xyz[:, 2] > 0) & (xyz[:, 2] < config.range_m))
    xyz, rgb = xyz[keep], o.rgb.reshape(-1, 3)[keep]
    plane = fit_plane(xyz)
    height = (xyz @ plane[:3] + plane[3]).astype(np.float32)
    is_near = ((xyz - o.T_cam_ee[:3, 3]) ** 2).sum(1) < config.near_m**2
    above = (height > config.table_m) & (is_near | (height < config.height_m))
    xyz, rgb, height, is_near = xyz[above], rgb[above], height[above], is_near[above]
    is_low = ~is_near & (height < config.low_m)
    order, rank = [], []
    strata = (is_near, config.near, 0.004), (is_low, config.low, 0.005), (~is_near & ~is_low, config.rest, 0.012)
    for members, count, size in strata:
        index = np.flatnonzero(members) if members.any() else np.arange(len(xyz))
        index = index[naive_voxels(xyz[index], size)]
        order.append(np.resize(index[naive_farthest(xyz[index], count)], count))
        rank.append((np.arange(count) + 0.5) / count)
    chosen = np.concatenate(order)[np.argsort(np.concatenate(rank), kind="stable")]
    return PointSet(xyz[chosen], rgb[chosen], height[chosen], plane)


# ---- the geometry under it -------------------------------------------------------------------------------------------


def test_chosen_pixels_are_unprojected_as_the_whole_image_is():
    depth = np.random.default_rng(0).uniform(0.4, 2.0, (90, 160)).astype(np.float32)
    pixels = np.random.default_rng(1).permutation(90 * 160)[:500]
    assert np.array_equal(unproject_pixels(depth, pixels, CAMERA), unproject(depth, CAMERA).reshape(-1, 3)[pixels])


@pytest.mark.parametrize("scale", [0.01, 1.0, 1e6])
def test_voxels_keep_the_first_point_of_each_cube(scale):
    points = (np.random.default_rng(0).normal(size=(3000, 3)) * scale).astype(np.float32)
    assert np.array_equal(voxel_indices(points, 0.01), naive_voxels(points, 0.01))
    assert len(voxel_indices(points[:0], 0.01)) == 0


@pytest.mark.parametrize(("n", "count"), [(30, 50), (500, 300), (3000, 60)])
def test_farthest_points_are_those_of_the_definition_bit_for_bit(n, count):
    points = np.random.default_rng(n).normal(size=(n, 3)).astype(np.float32)
    assert np.array_equal(farthest_points(points, count), naive_farthest(points, count))


def test_a_spread_is_exact_in_its_head_and_even_in_its_rest():
    points = np.random.default_rng(3).uniform(0, 0.3, (4000, 3)).astype(np.float32)
    points = points[voxel_indices(points, 0.005)]
    chosen = spread_points(points, 1000, 100, 0.005)
    assert len(set(chosen.tolist())) == 1000 and np.array_equal(chosen, spread_points(points, 1000, 100, 0.005))
    assert np.array_equal(chosen[:100], farthest_points(points, 100))
    exact = farthest_points(points, 1000)
    for head in (250, 500, 1000):
        reach = [np.percentile(cKDTree(points[c[:head]]).query(points)[0], 99) for c in (chosen, exact)]
        assert reach[0] < 1.7 * reach[1]
    assert sorted(spread_points(points, 10_000, 100, 0.005)) == list(range(len(points)))
    assert np.array_equal(spread_points(points, 80, 100, 0.005), farthest_points(points, 80))


def test_the_support_of_a_plane_is_its_share_of_the_points():
    rng = np.random.default_rng(0)
    table = np.c_[rng.uniform(-0.5, 0.5, (6000, 2)), np.full(6000, 1.0)]
    clutter = rng.uniform(-0.3, 0.3, (2000, 3)) + [0, 0, 0.6]
    plane, support = plane_and_support(np.concatenate([table, clutter]))
    assert np.array_equal(plane, fit_plane(np.concatenate([table, clutter]))) and abs(support - 0.75) < 0.04


# ---- the reduction ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", MORE_SIZES)
def test_probes_meet_the_budget_and_lie_in_their_blocks(size):
    width, height = size
    rows, columns = grid_size(height, width)
    assert 0.9 * PIXELS < rows * columns < 1.02 * PIXELS or (rows, columns) == (height, width)
    probes = probe_pixels(height, width)
    assert probes.shape[1] == rows * columns and len(np.unique(probes[0])) == rows * columns
    row, column = np.divmod(np.arange(rows * columns), columns)
    for probe in probes:
        v, u = np.divmod(probe, width)
        assert (row * height // rows <= v).all() and (v < (row + 1) * height // rows).all()
        assert (column * width // columns <= u).all() and (u < (column + 1) * width // columns).all()


@pytest.mark.parametrize("size", [(320, 180), (160, 90), (17, 3)])
def test_an_image_within_the_budget_is_untouched(size):
    depth = np.random.default_rng(0).uniform(0.2, 2.5, (size[1], size[0])).astype(np.float32)
    depth[depth < 0.4] = np.nan
    assert np.array_equal(representatives(depth, 1.8), np.flatnonzero((depth > 0) & (depth < 1.8)))


def test_small_images_give_the_definitions_cloud_bit_for_bit(sights):
    for observation in (scene(), scene(3, 0.2), *sights[320, 180]):
        for config in (tiny().points, small().points):
            found, expected = point_set(observation, config), naive_point_set(observation, config)
            for name in ("xyz", "rgb", "height", "plane"):
                a, b = getattr(found, name), getattr(expected, name)
                assert np.array_equal(a, b) and a.dtype == b.dtype


def test_edges_give_no_points_in_the_air():
    depth = np.where(np.arange(1280) < 641, 0.8, 1.4).astype(np.float32) * np.ones((720, 1), np.float32)
    assert set(np.unique(depth.ravel()[representatives(depth, 1.8)])) == {np.float32(0.8), np.float32(1.4)}


@pytest.mark.parametrize("share", [0.5, 0.9])
def test_holes_are_filled_from_their_block(share):
    rng = np.random.default_rng(0)
    depth = np.where(rng.random((720, 1280)) < share, np.nan, 1.0).astype(np.float32)
    pixel = representatives(depth, 1.8)
    assert np.isfinite(depth.ravel()[pixel]).all() and (np.diff(pixel // 1280 // 4 * 320 + pixel % 1280 // 4) > 0).all()
    assert len(pixel) == pytest.approx(PIXELS * (1 - share**4), rel=0.02)


@pytest.mark.parametrize("size", SIZES[1:])
@pytest.mark.parametrize("part", [np.s_[:, ::2], np.s_[:, 1::2], np.s_[::2], np.s_[1::2]])
def test_every_other_row_or_column_suffices(size, part):
    depth = np.full(size[::-1], np.nan, np.float32)
    depth[part] = 1.0
    assert len(representatives(depth, 1.8)) == PIXELS


@pytest.mark.parametrize("size", [(1280, 720), (1920, 1080), (672, 376)])
@pytest.mark.parametrize("is_upright", [True, False])
def test_thin_object_keeps_its_share_of_points(size, is_upright):
    width, height = size
    thick = 3 if width > 1000 else 2
    for start in range(60, 66):
        depth = np.full((height, width), np.nan, np.float32)
        strip = slice(100, 300), slice(start, start + thick)
        depth[strip if is_upright else strip[::-1]] = 1.0
        blocks = thick * 200 * PIXELS / (width * height)
        table = probe_pixels(height, width)[0]
        assert np.isfinite(depth.ravel()[table]).sum() == pytest.approx(blocks, rel=0.25)


# ---- the cloud -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("preset", [small, base])
def test_the_density_is_the_same_at_every_size(sights, preset):
    clouds = {size: point_set(pair[0], preset().points) for size, pair in sights.items()}
    valid = {size: len(representatives(pair[0].depth, 1.8)) for size, pair in sights.items()}
    distinct = {size: len(np.unique(c.xyz, axis=0)) for size, c in clouds.items()}
    apart = {size: spacing(c.xyz) for size, c in clouds.items()}
    for size in SIZES[1:]:
        assert valid[size] == pytest.approx(valid[SIZES[0]], rel=0.03)
        assert distinct[size] == pytest.approx(distinct[SIZES[0]], rel=0.05)
        assert apart[size] == pytest.approx(apart[SIZES[0]], rel=0.1)
        assert clouds[size].support == pytest.approx(clouds[SIZES[0]].support, abs=0.05)


def test_clouds_of_two_image_sizes_agree_within_noise(sights):
    config = small().points
    clouds = {size: [point_set(o, config) for o in pair] for size, pair in sights.items()}
    noise = chamfer(*(c.xyz for c in clouds[SIZES[0]]))
    for size in SIZES[1:]:
        assert chamfer(clouds[SIZES[0]][0].xyz, clouds[size][0].xyz) < 2 * noise
        a, b = clouds[SIZES[0]][0].plane, clouds[size][0].plane
        assert abs(a[3] - b[3]) < 1e-3 and np.degrees(np.arccos(min(1.0, a[:3] @ b[:3]))) < 0.2


def test_the_utensil_keeps_its_points_at_every_size(stations, sights):
    def on_it(station, points):
        T = se3.invert(station.object_pose()) @ station.T_base_cam
        utensil = station.scene.utensil
        local = se3.apply(T, points.astype(np.float64))
        return int((np.abs(local) < [utensil.half_length + 0.003, 0.02, 0.012]).all(1).sum())

    found = {size: on_it(stations[size], point_set(pair[0], small().points).xyz) for size, pair in sights.items()}
    assert found[SIZES[0]] >= 20
    for size in SIZES[1:]:
        assert found[size] > 0.8 * found[SIZES[0]], found


def test_cloud_has_its_plane_and_is_deterministic(sights):
    for observation in (scene(), sights[1280, 720][0]):
        depth = observation.depth.copy()
        points, again = (point_set(observation, base().points) for _ in range(2))
        for name in ("xyz", "rgb", "height", "plane"):
            assert np.array_equal(getattr(points, name), getattr(again, name))
        assert np.array_equal(depth, observation.depth, equal_nan=True)
        assert points.plane.shape == (4,) and points.plane.dtype == np.float64 and points.plane[3] > 0
        assert np.linalg.norm(points.plane[:3]) == pytest.approx(1.0)
        assert np.allclose(points.xyz @ points.plane[:3] + points.plane[3], points.height, atol=1e-6)
        assert 0.3 < points.support <= 1.0
        assert points.xyz.dtype == points.height.dtype == np.float32 and points.rgb.dtype == np.uint8


def test_cloud_is_made_without_a_plane():
    points = PointSet(np.zeros((1, 3), np.float32), np.zeros((1, 3), np.uint8), np.zeros(1, np.float32))
    assert points.plane is None and np.isnan(points.support)
    assert inputs.PointSet is PointSet and inputs.point_set is point_set


def test_repeats_and_empty_strata():
    o = scene()
    far = Observation(o.rgb, o.depth, CAMERA, se3.make_pose(np.eye(3), np.array([0.0, 0.0, -5.0])), 0.2)
    points = point_set(far, base().points)  # nothing is near, and there are fewer candidates than points asked for
    assert len(points.xyz) == base().points.total and len(np.unique(points.xyz, axis=0)) < 1000


@pytest.mark.parametrize("size", [(160, 90), (1280, 720)])
def test_images_without_a_scene_are_refused(size):
    camera = CameraModel(*size, size[0] * 0.4, size[0] * 0.4, (size[0] - 1) / 2, (size[1] - 1) / 2)
    rgb, T = np.zeros((size[1], size[0], 3), np.uint8), np.eye(4)
    empty, wall = np.full(size[::-1], np.nan, np.float32), np.full(size[::-1], 1.0, np.float32)
    few = empty.copy()
    few[:4, :40] = 1.0
    for depth, message in (
        (empty, "depth: 0 valid pixels nearer than 1.8 m, at least 200 required"),
        (few, "valid pixels nearer than 1.8 m"),
        (wall, "depth: 0 points above the table, at least 20 required"),
    ):
        with pytest.raises(InputError, match=message):
            point_set(Observation(rgb, depth, camera, T, 0.0), small().points)


def test_work_is_bounded_by_the_budget():
    sizes = [probe_pixels(height, width).shape[1] for width, height in ((4096, 2160), (8000, 6000), (3000, 3000))]
    assert max(sizes) < 1.02 * PIXELS
    cloud.probe_pixels.cache_clear()
