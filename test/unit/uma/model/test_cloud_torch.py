"""The cloud on a device: what NumPy prepares, as one graph of static shapes that never waits for the device."""

import numpy as np
import pytest
import torch
from clouds import SPARSE, chamfer, tensors
from scenes import CAMERA, scene
from torch.utils._python_dispatch import TorchDispatchMode

from uma.geometry import se3
from uma.geometry.point_cloud import spread_points
from uma.model import cloud_torch
from uma.model.cloud import VOXELS_M, point_set
from uma.model.cloud_torch import CloudPreparation, check, farthest, packed, smallest_eigenvector
from uma.model.config import base, small, tiny
from uma.types import CameraModel, InputError, Observation

SIZES = ((320, 180), (1280, 720), (672, 376))


def on(o: Observation, depth: np.ndarray) -> Observation:
    return Observation(o.rgb, depth.astype(np.float32), o.camera, o.T_cam_ee, o.gripper)


@pytest.fixture(scope="module")
def sights():
    """Two observations of one simulated scene per size, which differ by their noise."""
    pytest.importorskip("mujoco")
    pytest.importorskip("franky_sim")
    from uma_sim.tasks import make_station

    seen = {}
    for size in SIZES:
        station = make_station(1_000_002, width=size[0], height=size[1])
        seen[size] = station.observe(), station.observe()
        station.close()
    return seen


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("preset", [small, base])
def test_it_is_numpys_cloud_up_to_the_noise(sights, size, preset):
    config = preset().points
    module = CloudPreparation(size[1], size[0], config)
    expected, other = (point_set(o, config) for o in sights[size])
    found = module(*tensors(sights[size][0]))
    check(found, config)
    assert [v.dtype for v in found] == [torch.float32, torch.uint8, torch.float32, torch.float64, torch.int64]
    xyz, rgb, height, plane = (v.numpy() for v in found[:4])
    assert abs(plane[3] - expected.plane[3]) < 1e-3
    assert np.degrees(np.arccos(min(1.0, plane[:3] @ expected.plane[:3]))) < 0.2
    assert xyz.shape == expected.xyz.shape and rgb.shape == expected.rgb.shape and height.shape == expected.height.shape
    assert np.allclose(xyz @ plane[:3] + plane[3], height, atol=1e-6)
    assert chamfer(xyz, expected.xyz) < chamfer(expected.xyz, other.xyz)
    near, expected_near = (np.linalg.norm(p - sights[size][0].T_cam_ee[:3, 3], axis=1) for p in (xyz, expected.xyz))
    assert (near < config.near_m).mean() == pytest.approx((expected_near < config.near_m).mean(), abs=0.02)
    assert (height < config.low_m).mean() == pytest.approx((expected.height < config.low_m).mean(), abs=0.02)


def test_colours_stay_with_their_points(sights):
    o = sights[320, 180][0]
    found = CloudPreparation(180, 320, small().points)(*tensors(o))
    u = (found.xyz[:, 0] / found.xyz[:, 2] * o.camera.fx + o.camera.cx).round().long()
    v = (found.xyz[:, 1] / found.xyz[:, 2] * o.camera.fy + o.camera.cy).round().long()
    assert torch.equal(found.rgb, torch.from_numpy(o.rgb)[v, u])
    assert torch.equal(found.xyz[:, 2], torch.from_numpy(o.depth)[v, u])


@pytest.mark.slow
@pytest.mark.parametrize(("head", "matrix"), [(8, True), (512, False)])
def test_it_compiles_to_one_graph(head, matrix):
    module = CloudPreparation(90, 160, SPARSE, head=head, matrix=matrix)
    compiled = torch.compile(module, fullgraph=True, backend="eager")
    for seed in range(2):
        for a, b in zip(module(*tensors(scene(seed))), compiled(*tensors(scene(seed))), strict=True):
            assert torch.equal(a, b)
    torch._dynamo.reset()


class _Watch(TorchDispatchMode):
    """Fails at what waits for the device, has a size that depends on data, or brings data from the host."""

    BANNED = ("_local_scalar_dense", "nonzero", "masked_select", "unique", "lift_fresh", "repeat_interleave", "linalg")
    ALLOWED = ("linalg_cross.default", "linalg_vector_norm.default")

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.__name__
        assert name in self.ALLOWED or not any(b in name for b in self.BANNED), name
        if name.startswith("index."):
            assert all(i is None or i.dtype == torch.int64 for i in args[1]), f"{name} with a mask"
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize(("head", "matrix"), [(8, True), (512, False)])
def test_nothing_waits_for_the_device(head, matrix):
    module, given = CloudPreparation(90, 160, SPARSE, head=head, matrix=matrix), tensors(scene())
    with _Watch():
        module(*given)
    with pytest.raises(AssertionError, match="nonzero|mask"), _Watch():
        given[0][given[0] > 0]


def test_same_image_gives_the_same_cloud():
    ways = ({"matrix": False}, {"matrix": True}, {"head": 8})
    a, again, b = (CloudPreparation(90, 160, SPARSE, **way)(*tensors(scene())) for way in ways)
    assert all(torch.equal(x, y) for x, y in zip(a, again, strict=True))
    assert torch.equal(a.xyz[:16], b.xyz[:16])  # the head is the same
    distinct = [len(np.unique(v.xyz.numpy(), axis=0)) for v in (a, b)]
    assert distinct[1] > 0.9 * distinct[0] > 90


def test_after_the_head_come_numpys_points():
    module = CloudPreparation(90, 160, SPARSE, head=8)
    points = torch.rand(3, module.candidates, 3, generator=torch.Generator().manual_seed(0)) * 0.3
    size = torch.tensor([[3000], [100], [9]])
    mask = torch.arange(module.candidates) < size
    head = farthest(points, mask, 8, False)
    rest = module.rest(points, mask, head)
    for k, voxel in enumerate(VOXELS_M):
        expected = spread_points(points[k, : size[k]].numpy(), 3000, 8, voxel)
        assert torch.cat([head[k], rest[k]])[: size[k]].tolist() == expected.tolist()


def test_more_points_than_places_are_thinned_evenly(sights, monkeypatch):
    o, config = sights[320, 180][0], SPARSE
    whole = CloudPreparation(180, 320, config)(*tensors(o))
    monkeypatch.setattr(cloud_torch, "OVER", 1500)
    monkeypatch.setattr(cloud_torch, "CANDIDATES", 300)
    monkeypatch.setattr(cloud_torch, "SEARCHED", 200)
    thinned = CloudPreparation(180, 320, config)(*tensors(o))
    assert whole.counts.tolist() == thinned.counts.tolist() and thinned.counts[1] > 1500
    assert chamfer(whole.xyz.numpy(), thinned.xyz.numpy()) < 0.012


def test_an_empty_stratum_takes_all_points_as_numpy_does():
    o = scene()
    far = Observation(o.rgb, o.depth, CAMERA, se3.make_pose(np.eye(3), np.array([0.0, 0.0, -5.0])), 0.2)
    found, expected = CloudPreparation(90, 160, tiny().points)(*tensors(far)), point_set(far, tiny().points)
    assert chamfer(found.xyz.numpy(), expected.xyz) < 0.004


@pytest.mark.parametrize(
    "change",
    [
        lambda depth: np.full_like(depth, np.nan),
        lambda depth: np.where(np.arange(depth.size).reshape(depth.shape) < 150, 1.0, np.nan),
        lambda depth: np.ones_like(depth),
        lambda depth: np.where(np.arange(depth.shape[0])[:, None] == 40, np.ones_like(depth), np.nan),
        lambda depth: np.where(np.arange(depth.shape[0])[:, None] % 45 == 40, np.ones_like(depth), np.nan),
        lambda depth: np.where(np.random.default_rng(0).random(depth.shape) < 0.9, np.nan, depth),
    ],
    ids=["empty", "few", "table alone", "row", "rows", "holes"],
)
def test_refusals_match_those_of_numpy(change):
    o, config = on(scene(), change(scene().depth)), tiny().points
    found = CloudPreparation(90, 160, config)(*tensors(o))
    assert all(torch.isfinite(v.double()).all() for v in found)
    try:
        point_set(o, config)
    except InputError as error:
        with pytest.raises(InputError, match=str(error)):
            check(found, config)
    else:
        check(found, config)


def test_points_on_one_line_have_no_plane():
    camera = CameraModel(400, 1, 300.0, 300.0, 199.5, 0.0)
    o = Observation(np.zeros((1, 400, 3), np.uint8), np.ones((1, 400), np.float32), camera, np.eye(4), 0.0)
    found = CloudPreparation(1, 400, tiny().points)(*tensors(o))
    assert not found.plane.any()
    for refuse in (lambda: point_set(o, tiny().points), lambda: check(found, tiny().points)):
        with pytest.raises(InputError, match="depth: plane: all points lie on one line"):
            refuse()


def test_the_least_eigenvector_is_lapacks():
    rng = np.random.default_rng(0)
    for thickness in (1e-6, 1e-3, 0.3):
        A = rng.normal(size=(500, 3)) @ np.diag([1.0, 0.8, thickness]) @ np.linalg.qr(rng.normal(size=(3, 3)))[0]
        expected = np.linalg.eigh(A.T @ A)[1][:, 0]
        guess = expected + rng.normal(0, 0.2, 3)
        found = smallest_eigenvector(torch.from_numpy(A.T @ A), torch.from_numpy(guess)).numpy()
        assert abs(found @ expected) > 1 - 1e-9


def test_packed_places():
    mask = torch.tensor([[0, 1, 1, 0, 1], [0, 0, 0, 0, 1], [0, 0, 0, 0, 0], [1, 1, 1, 1, 1]], dtype=torch.bool)
    index, is_used = packed(mask, torch.arange(3))
    assert is_used.sum(1).tolist() == [3, 1, 0, 3]
    assert index[0].tolist() == [1, 2, 4] and index[1, 0] == 4 and index[3].tolist() == [0, 1, 3] and index.max() < 5


def test_masked_points_are_never_the_farthest():
    points = torch.rand(2, 50, 3, generator=torch.Generator().manual_seed(0))
    mask = torch.arange(50) < torch.tensor([[30], [5]])
    order = farthest(points, mask, 30, True)
    assert torch.equal(order, farthest(points, mask, 30, False))
    assert sorted(order[0].tolist()) == list(range(30)) and set(order[1].tolist()) == set(range(5))
