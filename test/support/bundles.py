"""Bundles of tiny models with scrambled weights, in several configurations."""

from dataclasses import replace

import torch

from uma.checkpoint.bundle import Bundle, Contract
from uma.model.config import block_layout, tiny
from uma.model.inputs import Normalization
from uma.model.uma import Uma

CONFIGS = {
    "plain": tiny(),
    "features": replace(
        tiny(),
        orientation=True,
        heights=True,
        places=True,
        waypoints=True,
        ways=True,
        lines=True,
        follow=True,
        context_layers=1,
    ),
    "separate heads": replace(tiny(), separate_layers=1),
    "dense": block_layout(tiny(), "dense"),
}


def bundle_of(config) -> Bundle:
    """A model whose zero-initialised parts are not zero."""
    torch.manual_seed(0)
    model = Uma(config, Normalization())
    with torch.no_grad():
        for p in model.parameters():
            if (p == 0).all():
                p.normal_(0, 0.1)
    return Bundle(model.eval(), Contract(), "tiny", {})
