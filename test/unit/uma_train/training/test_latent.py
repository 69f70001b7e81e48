"""Distances between task latents, on an encoder of known values."""

import math

import numpy as np
import pytest
import torch
from episodes import episode

from uma.model.config import tiny
from uma.model.inputs import Normalization
from uma.model.uma import Uma
from uma_train.data.mixtures import Mixture
from uma_train.data.windows import Windows
from uma_train.training.latent import LatentDistances, latent_distances


def mixture(intents: list[str]) -> Mixture:
    made = [episode(seed) for seed in range(len(intents))]
    for e, intent in zip(made, intents, strict=True):
        e.meta["intent"] = intent
    return Mixture([Windows(made, first_is_initial=1.0)])


def test_distances_are_those_between_the_tokens(monkeypatch):
    """An encoder of one number per task: 0, 1, 10, 11; a view is 0.5 off."""
    model = Uma(tiny(), Normalization())
    order = []

    def encode(points, reference):
        plain = not order
        order.append(len(points.xyz))
        values = {0: 0.0, 1: 1.0, 2: 10.0, 3: 11.0}
        ids = np.random.default_rng(0).choice(4, 4, replace=False)
        c = torch.tensor([values[int(i)] for i in ids]) + (0.0 if plain else 0.5)
        return c[:, None, None]

    monkeypatch.setattr(model, "encode_task", encode)
    found = latent_distances(model, mixture(["lift", "lift", "turn", "turn"]), size=4)
    assert found == LatentDistances(pytest.approx(0.5), pytest.approx(1.0), pytest.approx(10.0), 4)
    assert "0.50 (0.05 of the distance to another intent), to the same intent 1.00 (0.10" in str(found)


def test_one_intent_has_no_distance_to_another():
    found = latent_distances(Uma(tiny(), Normalization()), mixture(["lift", "lift", "lift"]), size=3)
    assert math.isnan(found.other_intent) and found.view > 0 and found.same_intent > 0
    assert "one intent alone" in str(found)
