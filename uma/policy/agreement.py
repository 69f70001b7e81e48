"""Which of several sampled chunks is executed: those that agree are averaged, the others left out."""

from __future__ import annotations

from torch import Tensor


def closest(samples: Tensor, count: int) -> Tensor:
    """``(..., count)`` indices of the sample in the densest place and of those nearest to it, the nearest first.

    Samples of a policy in doubt fall into groups, such as pushing on and raising the tool. The mean of all lies between
    the groups and does neither. The mean of the closest ones is steady and decided.

    Args:
        samples: ``(..., S, D)``, normalised.
        count: how many, 1 to S.

    Raises:
        ValueError: ``count`` is out of range.
    """
    S = samples.shape[-2]
    if not 1 <= count <= S:
        raise ValueError(f"count: {count}, must be 1 to {S}")
    distance = (samples[..., :, None, :] - samples[..., None, :, :]).square().sum(-1).sqrt()
    ordered, order = distance.sort(dim=-1, stable=True)
    # A neighbourhood of one says nothing about density: then the sample that is nearest to all others.
    among = ordered[..., : count if count > 1 else S].sum(-1)
    best = among.argmin(-1)[..., None, None].expand(*order.shape[:-2], 1, S)
    return order.gather(-2, best)[..., 0, :count]


def consensus(samples: Tensor, chosen: Tensor) -> Tensor:
    """``(..., D)`` mean of the ``chosen`` ``(..., count)`` of ``(..., S, D)`` samples."""
    index = chosen[..., None].expand(*chosen.shape, samples.shape[-1])
    return samples.gather(-2, index).mean(-2)
