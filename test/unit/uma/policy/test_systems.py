"""Checkpoints of any system: the bundle names its system, and the table names its class."""

import importlib
import json

import numpy as np
import pytest
import torch
from bundles import bundle_of
from scenes import reference, scene

from uma.checkpoint.bundle import BundleError, Contract, load_bundle, save_bundle
from uma.model.config import tiny
from uma.policy import Policy
from uma.policy.systems import SYSTEMS, System, load_system
from uma.types import InputError
from uma_train.training.recipe import RECIPES, Recipe

QUICK = {"num_samples": 1, "num_steps": 2}


def saved(folder, system: str):
    save_bundle(folder, bundle_of(tiny()).model, Contract(), training={}, card="", system=system)
    return folder


def members(protocol: type) -> list[str]:
    """Methods of a protocol; its properties may be attributes of an instance."""
    return [n for n, v in vars(protocol).items() if callable(v) or isinstance(v, classmethod)]


@pytest.mark.parametrize("name", SYSTEMS)
def test_every_system_has_the_whole_interface(name):
    for table, protocol in ((SYSTEMS, System), (RECIPES, Recipe)):
        module, _, kind = table[name].partition(":")
        kind = getattr(importlib.import_module(module), kind)
        assert not [n for n in members(protocol) if not hasattr(kind, n)], name


def test_the_systems_that_act_can_be_trained():
    assert set(SYSTEMS) == set(RECIPES) - {"tokeniser", "latent_actions"}


def test_a_bundle_without_a_system_is_of_uma(tmp_path):
    path = saved(tmp_path / "b", "uma")
    config = json.loads((path / "config.json").read_text())
    assert config.pop("system") == "uma"
    (path / "config.json").write_text(json.dumps(config))
    manifest = json.loads((path / "manifest.json").read_text())
    import hashlib

    manifest["sha256"]["config.json"] = hashlib.sha256((path / "config.json").read_bytes()).hexdigest()
    (path / "manifest.json").write_text(json.dumps(manifest))
    o = scene()
    a, b = load_system(path, seed=3, **QUICK), Policy.load(path, seed=3, **QUICK)
    chunks = [p.predict(o, p.encode_task(o, reference()), sequence=2).chunk for p in (a, b)]
    assert np.array_equal(chunks[0].poses, chunks[1].poses)


def test_a_twin_shares_weights_and_contract_but_not_settings(tmp_path):
    policy = load_system(saved(tmp_path / "b", "uma"), **QUICK)
    policy.contract = Contract(ee_frame="other_tool")
    twin = policy.twin(num_steps=5)
    assert twin.model is policy.model and twin.contract.ee_frame == "other_tool"
    assert (policy.config.num_steps, twin.config.num_steps) == (2, 5)


def test_another_system_is_refused_by_name(tmp_path):
    path = saved(tmp_path / "b", "coil")
    with pytest.raises(InputError, match=r"system 'uma': checkpoint .* is of system 'coil'"):
        load_system(path, system="uma")
    with pytest.raises(BundleError, match=r"of system 'coil', must be of 'uma' here"):
        load_bundle(path)
    with pytest.raises(BundleError, match=r"system 'nobody', must be one of uma, coil, "):
        load_system(saved(tmp_path / "c", "nobody"))


def test_coil_acts_and_refuses_motion(tmp_path):
    path, o = saved(tmp_path / "b", "coil"), scene()
    coil = load_system(path, system="coil", **QUICK)
    task = coil.encode_task(o, reference())
    chunk = coil.predict(o, task).chunk
    same = Policy(bundle_of(tiny()), **QUICK)
    assert np.array_equal(chunk.poses, same.predict(o, same.encode_task(o, reference())).chunk.poses)
    assert not coil.predicts_motion and same.predicts_motion
    for ask in (
        lambda: coil.predict(o, task, with_motion=True),
        lambda: coil.predict_motion(o, task, chunk),
        lambda: coil.predict_motions(o, task, [chunk]),
        lambda: coil.predict_actions(o, task, torch.zeros(17, 3, 3).numpy()),
    ):
        with pytest.raises(InputError, match="is of system 'coil', which predicts actions alone"):
            ask()
