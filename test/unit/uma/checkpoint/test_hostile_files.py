"""Checkpoints, prompts and episodes whose heads claim more than there is: refused before memory is taken."""

import hashlib
import json
import zipfile

import numpy as np
import pytest
import torch
from episodes import episode
from safetensors.torch import save_file

from uma.checkpoint.bundle import FILES, BundleError, Contract, load_bundle, save_bundle
from uma.checkpoint.prompt import Prompt, PromptError, load_prompt, save_prompt
from uma.model.config import tiny
from uma.model.inputs import Normalization
from uma.model.uma import Uma
from uma.settings import replaced
from uma.types import InputError
from uma_ros.drivers.device import LinkError
from uma_ros.drivers.gripper.robotiq import decode
from uma_train.data import shards
from uma_train.data.episode import EpisodeError, load_episode, save_episode


@pytest.fixture
def bundle(tmp_path):
    torch.manual_seed(0)
    save_bundle(tmp_path / "b", Uma(tiny(), Normalization()), Contract(), training={}, card="For a test.\n")
    return tmp_path / "b"


def rewrite(path, name, text):
    """Change a file and keep the manifest honest about it."""
    (path / name).write_text(text)
    manifest = {"sha256": {n: hashlib.sha256((path / n).read_bytes()).hexdigest() for n in FILES}}
    (path / "manifest.json").write_text(json.dumps(manifest))


@pytest.mark.parametrize(
    "part, change, words",
    [
        ("model", {"width": 10**9, "heads": 2}, "width: 1000000000, must be 1 to 16384"),
        ("model", {"layers": 10**9}, "layers: 1000000000, must be 1 to 256"),
        ("model", {"layers": 255}, "tensors for a configuration of"),
        ("model", {"heads": 0}, "heads: 0"),
        ("model", {"groups": []}, "groups"),
        ("model", {"width": 16384, "heads": 2}, "weights of width 32, config.json has width 16384"),
        ("model", {"horizon": 1000}, "size mismatch for step"),
        ("contract", {"rate_hz": 0.0}, "rate_hz: 0.0"),
        ("contract", {"ee_frame": ""}, "ee_frame: empty"),
    ],
)
def test_lying_configuration_takes_no_memory(bundle, part, change, words):
    config = json.loads((bundle / "config.json").read_text())
    config[part].update(change)
    rewrite(bundle, "config.json", json.dumps(config))
    with pytest.raises(BundleError, match=words):
        load_bundle(bundle)


@pytest.mark.parametrize(
    "name, text, words",
    [
        ("config.json", "[" * 200_000, "config.json is not JSON"),
        ("config.json", "[1, 2]", "schema None"),
        ("normalization.json", '{"point_scale": 0.0}', "point_scale: 0.0"),
        ("normalization.json", '{"point_scale": NaN}', "point_scale: nan"),
    ],
)
def test_json_that_is_none_is_named(bundle, name, text, words):
    rewrite(bundle, name, text)
    with pytest.raises(BundleError, match=words):
        load_bundle(bundle)


@pytest.mark.parametrize("text", ["[]", '{"sha256": 5}', "\x00"])
def test_a_manifest_without_hashes_is_named(bundle, text):
    (bundle / "manifest.json").write_text(text)
    with pytest.raises(BundleError, match=r"manifest.json"):
        load_bundle(bundle)


def test_prompts_of_other_kinds_are_refused(tmp_path):
    path = tmp_path / "p.safetensors"
    save_prompt(path, Prompt(torch.zeros(4, 8), "abc"))
    assert load_prompt(path).tokens.shape == (4, 8)
    for tokens, training, words in (
        (torch.zeros(4, 8, dtype=torch.int8), "{}", "int8"),
        (torch.zeros(4, 8), "[" * 200_000, "damaged"),
        (torch.zeros(4, 8), "[]", "training"),
    ):
        save_file({"tokens": tokens}, path, metadata={"schema": "1", "checkpoint_id": "abc", "training": training})
        with pytest.raises(PromptError, match=words):
            load_prompt(path)


def test_an_episode_whose_head_claims_terabytes_takes_no_memory(tmp_path):
    save_episode(tmp_path / "a.npz", episode(0))
    head = b"{'descr': '<f4', 'fortran_order': False, 'shape': (999999, 4, 4), }".ljust(117) + b"\n"
    with zipfile.ZipFile(tmp_path / "a.npz") as old, zipfile.ZipFile(tmp_path / "b.npz", "w") as new:
        for name in old.namelist():
            new.writestr(
                name,
                old.read(name)
                if name != "pose.npy"
                else b"\x93NUMPY\x01\x00" + len(head).to_bytes(2, "little") + head + b"\0" * 64,
            )
    with pytest.raises(EpisodeError, match="b.npz: pose.npy: shape .*, 63999936 bytes"):
        load_episode(tmp_path / "b.npz")
    with zipfile.ZipFile(tmp_path / "c.npz", "w", zipfile.ZIP_LZMA) as packed:
        packed.writestr("pose.npy", b"\0" * 2**22)
    with pytest.raises(EpisodeError, match="c.npz: pose.npy: .* bytes packed into"):
        load_episode(tmp_path / "c.npz")


@pytest.mark.parametrize(
    "change, words",
    [
        (lambda i: i.pop("episodes"), "must have the lists shards and episodes"),
        (lambda i: i["episodes"][0].update(rows=[1]), r"episodes\[0\]"),
        (lambda i: i["episodes"][0].update(shard=7), r"episodes\[0\]"),
        (lambda i: i["episodes"][0].update(meta=5), r"episodes\[0\].meta"),
        (lambda i: i["shards"][0].update(xyz=["<i2", [10**9]]), r"shards\[0\].xyz"),
        (lambda i: i["shards"][0].update(pose=["|O", [1, 4, 4]]), r"shards\[0\].pose"),
        (lambda i: i.update(episodes=[], shards=[]), "0 packed episodes"),
    ],
)
def test_an_index_of_other_things_is_named(tmp_path, change, words):
    save_episode(tmp_path / "a.npz", episode(0))
    shards.pack(tmp_path, tmp_path / "packed")
    index = json.loads((tmp_path / "packed/index.json").read_text())
    change(index)
    (tmp_path / "packed/index.json").write_text(json.dumps(index))
    with pytest.raises(EpisodeError, match=words):
        shards.open_shards(tmp_path / "packed")


def test_settings_from_a_file_keep_kind_and_range():
    from uma_ros.policy.settings import PolicySettings

    assert replaced(PolicySettings(), {"num_steps": 4, "max_image_age": 1}).num_steps == 4
    for name, value in (
        ("num_steps", "8"),
        ("num_steps", 10**9),
        ("num_steps", True),
        ("max_image_age", float("nan")),
        ("checkpoint", ["a"]),
        ("predict_motion", 1),
    ):
        with pytest.raises(InputError, match=f"^{name}: "):
            replaced(PolicySettings(), {name: value})


@pytest.mark.parametrize("registers", [None, b"abc", [1, 2], [None] * 3, [0.5] * 3, [10**400] * 3, [-1, 0, 0]])
def test_a_gripper_that_answers_something_else_is_a_broken_link(registers):
    with pytest.raises(LinkError, match="must be 3 of 16 bits"):
        decode(registers)


def test_zero_rows_are_read_without_a_map(tmp_path):
    save_episode(tmp_path / "a.npz", episode(0))
    shards.pack(tmp_path, tmp_path / "packed")
    store = shards.open_shards(tmp_path / "packed")
    assert len(store) == 1 and np.isfinite(store[0].pose).all()


def test_a_head_of_gigabytes_is_not_read(tmp_path):
    from uma_ros.drivers.camera.folder import read_depth

    (tmp_path / "d.npy").write_bytes(b"\x93NUMPY\x02\x00" + (2**31).to_bytes(4, "little") + b"{'descr'")
    with pytest.raises(InputError, match="d.npy: ValueError: header of 2147483648 bytes, limit 10000"):
        read_depth(tmp_path / "d.npy")
