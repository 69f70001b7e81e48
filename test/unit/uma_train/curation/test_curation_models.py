"""Results of other models as files, and SAM 3 from a local folder."""

import struct
import sys
import zlib
from dataclasses import replace

import numpy as np
import pytest
from curated import Square, path, scene, truth
from PIL import Image
from sam3_folders import SIDE, save_sam3

from uma.geometry import se3
from uma.types import InputError
from uma_train.curation.adapters import sam3 as sam3_module
from uma_train.curation.adapters.cameras import CameraFiles, ScaleFiles
from uma_train.curation.adapters.licences import LICENCES, accept, inherited
from uma_train.curation.adapters.masks import MaskFiles
from uma_train.curation.adapters.sam3 import Sam3
from uma_train.curation.adapters.track_files import TrackFiles
from uma_train.curation.clip import Clip
from uma_train.curation.command import CurateOptions, curate
from uma_train.curation.interchange import load_clip, save_clip
from uma_train.curation.keypoints import Spread
from uma_train.curation.segment import PlaneAndMotion
from uma_train.data.sources.human.licence import is_limited

T = 16
PATH = path(T, (-0.08, 0.0, 0.04, 0.0), (0.10, 0.05, 0.08, 0.3))


@pytest.fixture(scope="module")
def clip() -> Clip:
    return scene([Square(PATH), Square(path(T, (0.15, -0.1, 0.03, 0), (0.15, -0.1, 0.03, 0)), 0.03, 5)], T)


@pytest.fixture
def marked(clip) -> Clip:
    return Spread(6, 0)(replace(clip, is_object=np.pad(np.ones((20, 20), bool), ((80, 80), (80, 140)))))


def test_depth_and_camera_come_from_a_file(tmp_path, clip):
    bare = replace(clip, depths=None, intrinsics=None, extrinsics=None)
    small = clip.depths[:, ::2, ::2] * 0.5
    K = clip.intrinsics[0].copy()
    K[:2] *= 0.5
    K[:2, 2] = (clip.intrinsics[0][:2, 2] + 0.5) * 0.5 - 0.5
    pose = np.tile(np.eye(4), (T, 1, 1))
    pose[:, 0, 3] = np.linspace(0, 0.1, T)
    np.savez(tmp_path / "scene.npz", depth=small, K=K, cam_c2w=pose, metric_depth=clip.depths[0])
    found = CameraFiles(str(tmp_path), "megasam")(bare)
    np.testing.assert_allclose(found.intrinsics, clip.intrinsics, atol=1e-9)
    np.testing.assert_allclose(se3.invert(found.extrinsics), pose, atol=1e-9)
    assert not found.is_metric
    metric = ScaleFiles(str(tmp_path), "megasam")(found)
    np.testing.assert_allclose(metric.depths[0], clip.depths[0], atol=0.05)
    assert metric.is_metric
    assert se3.invert(metric.extrinsics)[-1, 0, 3] == pytest.approx(0.2, rel=0.02)


DEPTH = np.ones((T, 90, 120), np.float32)


@pytest.mark.parametrize(
    ("arrays", "text"),
    [
        ({"depth": np.zeros((T, 0, 120))}, r"depth: shape \(16, 0, 120\), must not be empty"),
        ({"depth": DEPTH, "is_metric": np.ones(3, bool)}, r"is_metric: shape \(3,\), must be one number"),
        ({"depth": DEPTH, "is_metric": np.array("yes")}, "is_metric: <U3, must be numbers"),
        ({"depth": DEPTH, "metric_depth": np.zeros((0, 4))}, r"metric_depth: shape \(0, 4\), must not be empty"),
        ({"depth": DEPTH, "scale": np.array("two")}, "scale: <U3, must be numbers"),
        ({"depth": DEPTH, "scale": np.ones(2)}, r"scale: shape \(2,\), must be one number"),
        ({"depth": DEPTH, "scale": np.array(-1.0)}, "metric_depth or scale > 0 is required"),
    ],
)
def test_unusable_depths_are_refused_by_name(tmp_path, clip, arrays, text):
    bare = replace(clip, depths=None, intrinsics=None, extrinsics=None)
    np.savez(tmp_path / "scene.npz", K=clip.intrinsics[0], cam_c2w=np.tile(np.eye(4), (T, 1, 1)), **arrays)
    with pytest.raises(InputError, match=text):
        ScaleFiles(str(tmp_path), "megasam")(CameraFiles(str(tmp_path), "megasam")(bare))


@pytest.mark.parametrize("size", [(0, 0), (60000, 60000)])
def test_images_of_absurd_sizes_are_no_masks(tmp_path, clip, size):
    (tmp_path / "scene").mkdir()
    head = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", *size, 8, 0, 0, 0, 0))
    (tmp_path / "scene/0.png").write_bytes(head + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b""))
    with pytest.raises(InputError, match=r"0\.png: "):
        MaskFiles(str(tmp_path), "sam3")(clip)


def chunk(kind: bytes, data: bytes) -> bytes:
    """A chunk of a PNG file."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def test_2d_tracks_are_lifted_by_depth(tmp_path, marked):
    tracks = np.tile(np.array([[100.0, 90.0], [20, 20], [-5, 3], [30, 40], [50, 60], [70, 80]]), (T, 1, 1))
    np.savez(tmp_path / "scene.npz", tracks=tracks, visibility=np.ones((T, 6)))
    found = TrackFiles(str(tmp_path), "tapnext")(marked)
    assert found.kind == "lift-tapnext"
    assert found.visibs[:, [0, 1, 3]].all() and not found.visibs[:, 2].any()
    np.testing.assert_allclose(found.coords[0, 1, 2], 0.8, atol=0.01)
    x = (20 - marked.intrinsics[0, 0, 2]) / 260 * found.coords[0, 1, 2]
    assert found.coords[0, 1, 0] == pytest.approx(x, abs=1e-5)


def test_tracks_of_the_wrong_shape_are_refused(tmp_path, marked):
    with pytest.raises(InputError, match=r"scene\.npz: absent"):
        TrackFiles(str(tmp_path), "tapip3d")(marked)
    np.savez(tmp_path / "scene.npz", coords=np.zeros((T, 5, 3)), visibs=np.ones((T, 5)))
    with pytest.raises(InputError, match=r"coords: shape \(16, 5, 3\), must be \(16, 6, 3\)"):
        TrackFiles(str(tmp_path), "tapip3d")(marked)


def test_tracks_of_other_pixels_are_brought_to_the_clips(tmp_path, marked):
    """CoTracker3's own names, with its batch, at half the size."""
    tracks = np.random.default_rng(0).uniform(20, 100, (T, 6, 2))
    np.savez(tmp_path / "scene.npz", tracks=tracks, visibility=np.ones((T, 6)))
    whole = TrackFiles(str(tmp_path), "cotracker3")(marked)
    half = {"pred_tracks": ((tracks + 0.5) / 2 - 0.5)[None], "pred_visibility": np.ones((1, T, 6), bool)}
    np.savez(tmp_path / "scene.npz", **half, image_size=np.array([120, 90]))
    np.testing.assert_allclose(TrackFiles(str(tmp_path), "cotracker3")(marked).coords, whole.coords, atol=1e-6)


def test_tracks_of_other_queries_are_refused(tmp_path, marked):
    given = {"coords": np.zeros((T, 6, 3), np.float32), "visibs": np.ones((T, 6), bool)}
    np.savez(tmp_path / "scene.result.npz", **given, query_points=marked.query)
    assert TrackFiles(str(tmp_path), "tapip3d")(marked).visibs.all()
    np.savez(tmp_path / "scene.result.npz", **given, query_points=marked.query + np.float32([0, 0, 0.02, 0]))
    with pytest.raises(InputError, match=r"query: 0.020 m from the clip's, limit 0.005 m"):
        TrackFiles(str(tmp_path), "tapip3d")(marked)
    np.savez(tmp_path / "scene.result.npz", **given, query_points=marked.query * np.float32([1, np.nan, 1, 1]))
    with pytest.raises(InputError, match=r"query: nan m from the clip's, limit 0.005 m"):
        TrackFiles(str(tmp_path), "tapip3d")(marked)


@pytest.mark.parametrize(
    ("model", "file", "keys"),
    [
        ("megasam", "scene_sgd_cvd_hr.npz", ("images", "depths", "intrinsic", "cam_c2w")),
        ("depth-anything-3-base", "scene/exports/mini_npz/results.npz", ("conf", "depth", "intrinsics", "extrinsics")),
        ("mapanything-apache", "scene.npz", ("mask", "depth_z", "intrinsics", "camera_poses")),
    ],
)
def test_each_projects_own_file_is_read(tmp_path, clip, model, file, keys):
    pose = np.tile(np.eye(4), (T, 1, 1))
    pose[:, 0, 3] = np.linspace(0, 0.1, T)
    depth = clip.depths.astype(np.float16) if model == "megasam" else clip.depths
    values = {
        **{name: np.zeros(3) for name in ("images", "conf", "mask")},
        **{"depths": depth, "depth": depth, "depth_z": depth[..., None]},
        **{"intrinsic": clip.intrinsics[0], "intrinsics": clip.intrinsics},
        **{"cam_c2w": pose, "camera_poses": pose, "extrinsics": se3.invert(pose)[:, :3]},
    }
    (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
    np.savez(tmp_path / file, **{key: values[key] for key in keys})
    found = CameraFiles(str(tmp_path), model)(replace(clip, depths=None, intrinsics=None, extrinsics=None))
    np.testing.assert_allclose(se3.invert(found.extrinsics), pose, atol=1e-6)
    np.testing.assert_allclose(found.intrinsics, clip.intrinsics, atol=1e-9)
    np.testing.assert_allclose(found.depths, clip.depths, atol=1e-3)
    assert found.is_metric == model.startswith("mapanything")


def test_the_metric_model_of_depth_anything_gives_metres(tmp_path, clip):
    unscaled = replace(clip, depths=clip.depths * 0.4, is_metric=False)
    file = tmp_path / "scene.metric" / "exports" / "mini_npz" / "results.npz"
    file.parent.mkdir(parents=True)
    focal = clip.intrinsics[0, 0, 0] / 2
    np.savez(file, depth=clip.depths[:1, ::2, ::2] * 300 / focal)
    found = ScaleFiles(str(tmp_path), "depth-anything-3-base")(unscaled)
    assert np.nanmedian(np.abs(found.depths - clip.depths)) < 0.002


# -- masks -------------------------------------------------------------------------------------------------------------


def numbered(clip: Clip) -> np.ndarray:
    """Masks with the mover as object 7 and the other square as object 2."""
    is_high = clip.depths < 0.785
    v, u = np.mgrid[0 : clip.video.shape[1], 0 : clip.video.shape[2]]
    return np.where(is_high & (u > 150) & (v < 75), 2, np.where(is_high, 7, 0)).astype(np.uint8)


def test_masks_name_the_object_that_moves(tmp_path, clip):
    masks = numbered(clip)
    np.savez(tmp_path / "scene.npz", masks=masks)
    found = MaskFiles(str(tmp_path), "sam3")(clip)
    np.testing.assert_array_equal(found, masks[0] == 7)
    own = PlaneAndMotion()(clip)
    assert (found & own).sum() / (found | own).sum() > 0.7
    np.savez(tmp_path / "scene.npz", masks=masks[0, ::2, ::2])  # of the first image alone, at half the size
    half = MaskFiles(str(tmp_path), "sam3")(clip)
    assert (half & found).sum() / (half | found).sum() > 0.9


@pytest.mark.parametrize("mode", ["L", "P", "I;16"])
def test_masks_are_images_in_the_order_of_time(tmp_path, clip, mode):
    masks = numbered(clip)
    (tmp_path / "scene").mkdir()
    for t, mask in enumerate(masks):
        image = Image.fromarray(mask.astype(np.uint16) if mode == "I;16" else mask)
        if mode == "P":
            image = image.convert("P")
            image.putpalette([255 - i // 3 for i in range(768)])
        image.save(tmp_path / "scene" / (f"mask_{t}.png" if mode == "L" else f"{t:05d}.png"))
    np.testing.assert_array_equal(MaskFiles(str(tmp_path), "sam3").of(clip), masks)
    np.testing.assert_array_equal(MaskFiles(str(tmp_path), "sam3")(clip), masks[0] == 7)


@pytest.mark.parametrize(
    ("masks", "text"),
    [
        (np.zeros((3, 180, 240), int), r"masks: int64 \(3, 180, 240\), must be whole numbers \(16 or 1, h, w\)"),
        (np.zeros((180, 240)), "masks: float64"),
        (np.zeros((T, 0, 240), int), r"masks: int64 \(16, 0, 240\)"),
        (np.zeros((180, 240), int), "holds no object of 60 pixels"),
        (np.kron([[1, 2], [3, 4]], np.ones((90, 120), int))[None].repeat(T, 0), "move by 0.0.. m, must be 0.01 m"),
    ],
)
def test_unusable_masks_are_refused(tmp_path, masks, text):
    np.savez(tmp_path / "scene.npz", masks=masks)
    with pytest.raises(InputError, match=text):
        MaskFiles(str(tmp_path), "sam3")(scene([Square(path(T))], T))


def test_the_command_takes_masks_and_keeps_their_licence(tmp_path, clip, capsys):
    source, masks = tmp_path / "in", tmp_path / "masks"
    source.mkdir()
    masks.mkdir()
    save_clip(source / "scene.npz", replace(clip, licence="mine"))
    np.savez(masks / "scene.npz", masks=numbered(clip))
    options = CurateOptions(source=str(source), out=str(tmp_path / "out"), masks=str(masks), mask_model="hamer")
    with pytest.raises(InputError, match="must be NC: hamer is MIT; with MANO"):
        curate(options)
    card = curate(replace(options, accept_licence="NC"))
    assert f"hamer: {LICENCES['hamer']}" in capsys.readouterr().out
    assert card["kept"] == 1 and card["models"] == {"hamer": LICENCES["hamer"]}
    assert card["licences"] == {f"mine; hamer: {LICENCES['hamer']}": 1}
    done = load_clip(tmp_path / "out" / "clips" / "scene.npz")
    np.testing.assert_array_equal(done.is_object, numbered(clip)[0] == 7)
    true = truth(Square(PATH), done.query[done.on_object, 1:].astype(float), T)
    assert np.median(np.linalg.norm(done.coords[:, done.on_object] - true, axis=-1)) < 0.003


@pytest.mark.parametrize("model", [name for name, terms in LICENCES.items() if is_limited(terms)])
def test_non_commercial_results_need_a_word(model):
    options = CurateOptions(source="x")
    with pytest.raises(InputError, match=f"accept_licence: '', must be NC: {model} is "):
        accept(model, options)
    assert accept(model, replace(options, accept_licence="NC")) == f"{model}: {LICENCES[model]}"
    assert inherited([model, "tapnext"]) == f"{model}: {LICENCES[model]}"


# -- SAM 3 -------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def sam3(tmp_path_factory):
    pytest.importorskip("transformers")
    folder = tmp_path_factory.mktemp("sam3")
    save_sam3(folder)
    return folder


@pytest.fixture
def files(tmp_path):
    """What a folder of SAM 3 is known by, without a model."""
    folder = tmp_path / "sam3"
    folder.mkdir()
    for name in ("model.safetensors", "tokenizer.json"):
        (folder / name).write_bytes(b"")
    (folder / "config.json").write_text('{"model_type": "sam3_video"}')
    return folder


@pytest.mark.slow
def test_sam3_segments_by_a_word_from_a_local_folder(sam3, clip, monkeypatch):
    """The same as the model called by hand, whose weights are random."""
    import torch
    from transformers.models.sam3.modeling_sam3 import Sam3Model

    model = Sam3Model.from_pretrained(sam3).eval()
    x = torch.from_numpy(clip.video[0]).permute(2, 0, 1)[None].float()
    x = torch.nn.functional.interpolate(x, (SIDE, SIDE), mode="bilinear", antialias=True) / 127.5 - 1
    given = {"input_ids": torch.tensor([[1] + [0] * 7]), "attention_mask": torch.tensor([[1] + [0] * 7])}
    with torch.no_grad():
        out = model(pixel_values=x, **given)
    true = (out.pred_logits.sigmoid() * out.presence_logits.sigmoid())[0].numpy()
    stage, size = Sam3(str(sam3), " Spoon"), clip.video.shape[1:3]
    for least in (float(np.median(true)), 1.0):
        monkeypatch.setattr(sam3_module, "SCORE", least)
        masks, scores = stage.instances(clip.video[0])
        np.testing.assert_allclose(scores, true, atol=1e-4)
        kept = torch.nn.functional.interpolate(out.pred_masks.sigmoid(), size, mode="bilinear")[0, true > least]
        np.testing.assert_array_equal(masks, kept.numpy() > 0.5)
    assert masks.shape == (0, *size)


def test_sam3_takes_the_instance_that_changes(files, clip, monkeypatch):
    masks = numbered(clip)[0]
    found = np.stack([masks == 2, masks == 7])
    monkeypatch.setattr(Sam3, "instances", lambda self, image: (found, np.array([0.9, 0.6])))
    np.testing.assert_array_equal(Sam3(str(files), "square")(clip), masks == 7)
    monkeypatch.setattr(Sam3, "instances", lambda self, image: (found[:0], np.array([0.2])))
    with pytest.raises(InputError, match=r"'square': 0.20 is the best score, must be over 0.3"):
        Sam3(str(files), "square")(clip)


def test_a_folder_that_is_no_sam3_is_refused(files, tmp_path):
    with pytest.raises(InputError, match="thing: empty, must name what SAM 3 looks for"):
        Sam3(str(files), "")
    with pytest.raises(InputError, match=r"lacks config.json; must be a local folder of SAM 3"):
        Sam3(str(tmp_path), "spoon")
    (files / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(InputError, match="model_type 'bert', must be sam3 or sam3_video"):
        Sam3(str(files), "spoon")


@pytest.mark.slow
def test_damaged_weights_of_sam3_are_refused(sam3, tmp_path, clip):
    for name in ("config.json", "tokenizer.json"):
        (tmp_path / name).write_bytes((sam3 / name).read_bytes())
    (tmp_path / "model.safetensors").write_bytes(b"cut")
    with pytest.raises(InputError, match=f"masks: {tmp_path}: Error while deserializing"):
        Sam3(str(tmp_path), "spoon").instances(clip.video[0])


def test_a_missing_library_names_its_extra(files, clip, monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(InputError, match=r"transformers: not installed; the extra 'siglip2' has it"):
        Sam3(str(files), "spoon").instances(clip.video[0])
