"""Explicit position features in the policy frame at several wavelengths (`ModelConfig.places`).

A linear map of coordinates over a workspace of a metre resolves centimetres poorly. Sines and cosines of the position
do, and their products tell differences between two positions.
"""

from __future__ import annotations

import torch
from torch import Tensor

WAVELENGTH, OCTAVES = 1.6, 6
"""Longest wavelength, metres, and number of wavelengths, each half of the one before."""

PLACE_FEATURES = 3 * 2 * OCTAVES
"""Width of `features`."""


def features(position: Tensor) -> Tensor:
    """Return the ``(..., 36)`` sines and cosines of ``(..., 3)`` positions, metres, policy frame."""
    # Computed on the device, because copying a constant from the host would break a CUDA graph.
    octave = torch.arange(OCTAVES, device=position.device, dtype=position.dtype)
    angle = (position[..., None] * (2 * torch.pi / WAVELENGTH * torch.exp2(octave))).flatten(-2)
    return torch.cat([angle.sin(), angle.cos()], -1)
