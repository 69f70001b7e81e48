"""RoMaV2 from a local folder, with a stand-in for its package, and matches from files."""

import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from box_scene import CAMERA, box_pose, draw, in_camera, textures

from uma.geometry.camera import project, unproject
from uma.geometry.se3 import apply
from uma.policy.goal import match_goal
from uma.policy.matchers import DINOV3, WEIGHTS, FileMatcher, RomaMatcher, matcher_of
from uma.types import InputError, Observation

SIZE = np.array([CAMERA.width, CAMERA.height])


@pytest.fixture(scope="module")
def scene():
    """Two images of a moved box, true pairs on it, its mask, and its motion."""
    faces = textures(np.random.default_rng(3))
    A, B = box_pose(-0.12, 0.0, 0.3), box_pose(0.08, 0.05, 0.6)
    (rgb, depth, is_box), (goal_rgb, goal_depth, _) = draw(A, faces), draw(B, faces)
    motion = in_camera(A, B)
    v, u = np.nonzero(is_box)
    some = np.random.default_rng(0).permutation(len(u))[:300]
    pixels = np.stack([u, v], 1)[some].astype(float)
    goal_pixels = project(apply(motion, unproject(depth, CAMERA)[v, u][some].astype(float)), CAMERA)
    seen = Observation(rgb, depth, CAMERA, np.eye(4), 0.0)
    return SimpleNamespace(**{k: v for k, v in locals().items() if k not in ("faces", "A", "B", "u", "v", "some")})


def error_mm(reference, motion) -> float:
    first, last = (np.stack([w[i] for w in reference.waypoints]) for i in (0, -1))
    return float(np.linalg.norm(apply(motion, first) - last, axis=1).max() * 1e3)


def normalised(pixels, goal_pixels) -> np.ndarray:
    return np.concatenate([(uv + 0.5) / SIZE * 2 - 1 for uv in (pixels, goal_pixels)], 1)


@pytest.fixture
def folder(tmp_path, scene, monkeypatch):
    """A folder of RoMaV2, and a package that takes its weights as the real one does, through torch.hub."""
    (tmp_path / DINOV3).mkdir()
    (tmp_path / WEIGHTS).parent.mkdir()
    torch.save({"w": torch.ones(1)}, tmp_path / WEIGHTS)
    still = np.tile(np.linspace(-0.9, 0.9, 50)[:, None], (1, 4))
    pairs = np.concatenate([normalised(scene.pixels, scene.goal_pixels), still])

    class RoMaV2:
        Cfg = SimpleNamespace

        def __init__(self, cfg):
            url = "https://github.com/Parskatt/RoMaV2/releases/download/v2.0.1/romav2.0.1.pt"
            assert torch.hub.load_state_dict_from_url(url)["w"] == 1 and not cfg.compile

        def eval(self):
            return self

        def match(self, a, b):
            return {"images": (a, b)}

        def sample(self, found, count):
            matches = np.concatenate([pairs, np.random.default_rng(1).uniform(-1, 1, (40, 4))])
            overlap = np.r_[np.ones(len(pairs)), np.full(40, 0.1)]
            return torch.tensor(matches), torch.tensor(overlap), None, None

    monkeypatch.setitem(sys.modules, "romav2", SimpleNamespace(RoMaV2=RoMaV2))
    return tmp_path


def test_roma_from_a_local_folder_gives_two_waypoints(folder, scene):
    before = torch.hub.get_dir()
    matcher = matcher_of(str(folder))
    reference = match_goal(scene.seen, scene.goal_rgb, scene.goal_depth, matcher)
    assert len(reference.waypoints) == 16 and {len(w) for w in reference.waypoints} == {2}
    assert error_mm(reference, scene.motion) < 15
    assert torch.hub.get_dir() == before
    pixels, _ = matcher(scene.rgb, scene.goal_rgb)
    assert len(pixels) == 300  # neither what rests nor what is uncertain
    pixels, _ = matcher(scene.rgb, scene.goal_rgb, np.zeros_like(scene.is_box))
    assert not len(pixels)


def test_a_folder_or_package_that_lacks_something_is_refused(folder, scene, monkeypatch):
    (folder / WEIGHTS).write_bytes(b"cut")
    with pytest.raises(InputError, match="goal matcher: .*"):
        RomaMatcher(str(folder))(scene.rgb, scene.goal_rgb)
    monkeypatch.setitem(sys.modules, "romav2", None)
    with pytest.raises(InputError, match=r"romav2 is not installed: .* pip install romav2==2.0.1"):
        RomaMatcher(str(folder))(scene.rgb, scene.goal_rgb)
    (folder / WEIGHTS).unlink()
    with pytest.raises(InputError, match=r"lacks checkpoints/romav2.0.1.pt"):
        matcher_of(str(folder))


def test_matches_come_from_a_file(tmp_path, scene):
    path = tmp_path / "matches.npz"
    np.savez(path, pixels=scene.pixels, goal_pixels=scene.goal_pixels)
    one = match_goal(scene.seen, scene.goal_rgb, scene.goal_depth, matcher_of(str(path)), scene.is_box)
    np.savez(path, matches=normalised(scene.pixels, scene.goal_pixels))
    two = match_goal(scene.seen, scene.goal_rgb, scene.goal_depth, FileMatcher(str(path)), scene.is_box)
    assert error_mm(one, scene.motion) < 15
    np.testing.assert_allclose(np.stack(one.waypoints), np.stack(two.waypoints), atol=1e-9)


@pytest.mark.parametrize(
    ("arrays", "text"),
    [
        ({"pixels": np.zeros((3, 2))}, r"goal_pixels: None, must be numbers \(N, 2\)"),
        ({"pixels": np.zeros((3, 2)), "goal_pixels": np.zeros((2, 2))}, "goal_pixels: 2, must be as many as pixels, 3"),
        ({"matches": np.zeros((3, 3))}, r"matches: float64 \(3, 3\), must be numbers \(N, 4\)"),
        ({"matches": np.array([{}], object)}, "no readable matches"),
    ],
)
def test_unusable_matches_are_refused(tmp_path, scene, arrays, text):
    np.savez(tmp_path / "m.npz", **arrays)
    with pytest.raises(InputError, match=r"m\.npz: " + text):
        FileMatcher(str(tmp_path / "m.npz"))(scene.rgb, scene.goal_rgb)
