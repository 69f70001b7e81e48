"""Image features at the points: the small encoder, and frozen SigLIP 2 towers through transformers' own code."""

import copy
import hashlib
import json
import socket
import sys

import numpy as np
import pytest
import torch
from siglip_folders import PATCH, SIDE, save_siglip

from uma.model.config import ImageConfig
from uma.model.image import SiglipImageEncoder, SmallImageEncoder, features_at, image_encoder
from uma.types import InputError

FAMILIES = ["siglip", "siglip2"]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("siglip")
    return {family: (root / family, save_siglip(root / family, family)) for family in FAMILIES}


def config(path, **changes) -> ImageConfig:
    return ImageConfig(
        **{"kind": "siglip2", "height": 2 * SIDE, "width": 3 * SIDE, "features": 5, "path": str(path), **changes}
    )


def images(B: int = 2, height: int = 2 * SIDE, width: int = 3 * SIDE) -> torch.Tensor:
    return torch.rand(B, 3, height, width, generator=torch.Generator().manual_seed(0))


def test_a_ramp_is_read_back_exactly():
    """x and y over [-1, 1] edge to edge: cell i of w has its centre at (2 i + 1) / w - 1."""
    h, w = 6, 10
    x, y = (2 * torch.arange(w) + 1) / w - 1, (2 * torch.arange(h) + 1) / h - 1
    ramp = torch.stack([x.expand(h, w), y[:, None].expand(h, w), 3 * x + 2 * y[:, None] - 1])[None]
    pixel = (torch.rand(1, 200, 2, generator=torch.Generator().manual_seed(0)) * 2 - 1) * torch.tensor(
        [1 - 1 / w, 1 - 1 / h]
    )
    expected = torch.stack([pixel[..., 0], pixel[..., 1], 3 * pixel[..., 0] + 2 * pixel[..., 1] - 1], -1)
    assert torch.allclose(features_at(ramp, pixel), expected, atol=1e-6)
    corners = torch.tensor([[[-1.0, -1.0], [1.0, 1.0]]])
    assert torch.equal(
        features_at(ramp, corners)[0, :, :2], torch.stack([ramp[0, :2, 0, 0], ramp[0, :2, -1, -1]])
    )  # held, not faded to zero


def test_a_place_is_known_finely_in_half_precision_too():
    ramp = (torch.arange(160) * 1.0).expand(1, 1, 4, 160).bfloat16()
    pixel = torch.tensor([[[0.5003, 0.0], [0.5031, 0.0]]])
    a, b = features_at(ramp, pixel)[0, :, 0]
    assert abs((b - a) - 0.0028 * 80) < 1e-3


@pytest.mark.parametrize("kind", ["small", *FAMILIES])
def test_a_feature_lies_where_its_pixels_are(kind, folders):
    """A change in one corner of the image changes the map most in that corner, for all four corners."""
    torch.manual_seed(0)
    encoder = (
        SmallImageEncoder(ImageConfig("small", 64, 96)) if kind == "small" else image_encoder(config(folders[kind][0]))
    )
    h, w = encoder.config.height, encoder.config.width
    plain = torch.full((1, 3, h, w), 0.4)
    for top in (True, False):
        for left in (True, False):
            changed = plain.clone()
            changed[
                :,
                :,
                slice(0, h // 4) if top else slice(-h // 4, None),
                slice(0, w // 4) if left else slice(-w // 4, None),
            ] = 1.0
            with torch.no_grad():
                difference = (encoder(changed) - encoder(plain)).square().sum(1)[0]
            row, column = divmod(int(difference.argmax()), difference.shape[1])
            assert (row < difference.shape[0] / 2, column < difference.shape[1] / 2) == (top, left)


def test_none_is_none_and_the_small_map_has_the_stated_shape():
    assert image_encoder(ImageConfig()) is None
    small = image_encoder(ImageConfig("small"))
    assert small(images(2, 96, 160)).shape == (2, 32, 24, 40)
    assert small(images(2, 360, 640)).shape == (2, 32, 24, 40)  # resized to the configured size


def test_the_small_encoder_sees_each_image_alone_and_is_trained():
    torch.manual_seed(0)
    small = SmallImageEncoder(ImageConfig("small"))
    batch = images(4, 96, 160)
    together = small(batch)
    assert torch.allclose(together[2:3], small(batch[2:3]), atol=1e-5)
    assert torch.equal(together, small.eval()(batch))
    together.square().mean().backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in small.parameters())


def test_whole_checkpoint_gives_its_vision_towers_features(folders):
    """At the size that it was made for, with the pixels of transformers' own processing: x -> (x - 0.5) / 0.5."""
    path, model = folders["siglip"]
    torch.manual_seed(1)
    encoder = image_encoder(config(path, height=SIDE, width=SIDE))
    batch = images(2, SIDE, SIDE)
    with torch.no_grad():
        own = model.vision_model(pixel_values=(batch - 0.5) / 0.5).last_hidden_state
        expected = encoder.project(own).transpose(1, 2).reshape(2, 5, SIDE // PATCH, SIDE // PATCH)
    assert torch.allclose(encoder(batch), expected, atol=1e-6)


def test_naflex_patches_are_those_of_transformers_own_processing(folders):
    from transformers.models.siglip2.image_processing_pil_siglip2 import convert_image_to_patches

    path, model = folders["siglip2"]
    encoder = image_encoder(config(path))
    batch = images()
    patches = np.stack([convert_image_to_patches(x, PATCH) for x in ((batch - 0.5) / 0.5).numpy()])
    h, w = 2 * SIDE // PATCH, 3 * SIDE // PATCH
    with torch.no_grad():
        out = model.vision_model(
            torch.from_numpy(patches), torch.ones(2, h * w, dtype=torch.long), torch.tensor([[h, w]] * 2)
        )
        expected = encoder.project(out.last_hidden_state).transpose(1, 2).reshape(2, 5, h, w)
    assert torch.allclose(encoder(batch), expected, atol=1e-6)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_folder_with_the_vision_tower_alone_gives_the_same(family, folders, tmp_path):
    path, model = folders[family]
    model.vision_model.save_pretrained(tmp_path)
    torch.manual_seed(1)
    whole = image_encoder(config(path))
    torch.manual_seed(1)
    alone = image_encoder(config(tmp_path))
    assert json.loads((tmp_path / "config.json").read_text())["model_type"] == f"{family}_vision_model"
    assert torch.equal(whole(images()), alone(images()))


@pytest.mark.parametrize("family", FAMILIES)
def test_only_the_projection_is_stored_and_trained(family, folders):
    encoder = image_encoder(config(folders[family][0]))
    assert (
        set(encoder.state_dict())
        == {"project.weight", "project.bias"}
        == {name for name, _ in encoder.named_parameters()}
    )
    encoder.train()
    tower = encoder.tower.module
    assert not tower.training and not any(p.requires_grad for p in tower.parameters())
    before = copy.deepcopy(tower.state_dict())
    optimizer = torch.optim.SGD(encoder.parameters(), 0.1)
    features_at(encoder(images()), torch.zeros(2, 3, 2)).square().sum().backward()
    optimizer.step()
    assert encoder.project.weight.grad.abs().max() > 0 and all(p.grad is None for p in tower.parameters())
    assert all(torch.equal(v, before[k]) for k, v in tower.state_dict().items())
    other = image_encoder(config(folders[family][0]))
    other.load_state_dict(encoder.state_dict(), strict=True)
    assert torch.equal(other(images()), encoder(images()))


def test_the_tower_moves_with_the_model_and_keeps_its_precision(folders):
    holder = torch.nn.Sequential(image_encoder(config(folders["siglip"][0])))
    tower = holder[0].tower.module
    assert holder.bfloat16()(images()).dtype == torch.bfloat16 and tower.dtype == torch.float32
    holder.to("meta")
    assert {p.device.type for p in tower.parameters()} | {b.device.type for b in tower.buffers()} == {"meta"}


@pytest.mark.parametrize("family", FAMILIES)
def test_weights_of_another_hash_are_refused(family, folders):
    path, _ = folders[family]
    sha256 = hashlib.sha256((path / "model.safetensors").read_bytes()).hexdigest()
    image_encoder(config(path, sha256=sha256))
    with pytest.raises(InputError, match=r"image\.sha256: .* has " + sha256):
        image_encoder(config(path, sha256="0" * 64))


def test_what_is_missing_is_named(folders, tmp_path, monkeypatch):
    path, _ = folders["siglip"]
    with pytest.raises(InputError, match=r"image\.path: .*nowhere lacks config\.json"):
        image_encoder(config(tmp_path / "nowhere"))
    (tmp_path / "config.json").write_text((path / "config.json").read_text())
    with pytest.raises(InputError, match=r"lacks model\.safetensors"):
        image_encoder(config(tmp_path))
    with pytest.raises(InputError, match=r"image\.height: 18, must be a multiple of 4"):
        image_encoder(config(path, height=18))
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(ImportError, match=r"pip install 'uma\[siglip2\]'"):
        image_encoder(config(path))


def test_incomplete_weights_are_refused(folders, tmp_path):
    from safetensors.torch import load_file, save_file

    path, _ = folders["siglip"]
    weights = load_file(path / "model.safetensors")
    settings = (path / "config.json").read_text()
    (tmp_path / "config.json").write_text(settings)
    save_file(
        {k: v for k, v in weights.items() if "vision_model.encoder.layers.1.mlp" not in k},
        tmp_path / "model.safetensors",
    )
    with pytest.raises(InputError, match=r"(?s)does not hold the vision tower.*layers\.1\.mlp"):
        image_encoder(config(tmp_path))
    save_file({k: v for k, v in weights.items() if k.startswith("text_model.")}, tmp_path / "model.safetensors")
    with pytest.raises(InputError, match="does not hold the vision tower"):
        image_encoder(config(tmp_path))
    (tmp_path / "model.safetensors").write_bytes((path / "model.safetensors").read_bytes()[:5000])
    with pytest.raises(InputError, match="does not hold the vision tower"):
        image_encoder(config(tmp_path))
    (tmp_path / "config.json").write_text(json.dumps(json.loads(settings) | {"model_type": "clip"}))
    with pytest.raises(InputError, match="model_type 'clip', must be one of siglip"):
        image_encoder(config(tmp_path))


def test_image_encoder_needs_no_network(folders, monkeypatch):
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)

    def refuse(*args, **kwargs):
        raise AssertionError(f"a connection was tried: {args}")

    for name in ("connect", "connect_ex"):
        monkeypatch.setattr(socket.socket, name, refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    assert isinstance(image_encoder(config(folders["siglip"][0])), SiglipImageEncoder)


@pytest.mark.parametrize("family", FAMILIES)
def test_features_are_the_same_every_time_and_in_a_batch(family, folders):
    torch.manual_seed(3)
    first = image_encoder(config(folders[family][0]))
    torch.manual_seed(3)
    second = image_encoder(config(folders[family][0]))
    batch = images(3)
    assert torch.equal(first(batch), second(batch))
    assert torch.allclose(first(batch)[1:2], first(batch[1:2]), atol=1e-5)
    assert first(batch).shape == (3, 5, 2 * SIDE // PATCH, 3 * SIDE // PATCH)
