"""Consensus of several sampled chunks: the closest samples are averaged, the others are dropped."""

from __future__ import annotations

from torch import Tensor


def closest(samples: Tensor, count: int) -> Tensor:
    """Return ``(..., count)`` indices of the sample in the densest region and of its nearest neighbours, nearest first.

    Samples of a multimodal policy form clusters, such as pushing and retreating. The mean of all samples lies between
    the clusters and follows neither. The mean of the closest samples follows one.

    Args:
        samples: ``(..., S, D)``, normalised.
        count: number of samples, 1 to S.

    Raises:
        ValueError: ``count`` is out of range.
    """
    S = samples.shape[-2]
    if not 1 <= count <= S:
        raise ValueError(f"count: {count}, must be 1 to {S}")
    distance = (samples[..., :, None, :] - samples[..., None, :, :]).square().sum(-1).sqrt()
    ordered, order = distance.sort(dim=-1, stable=True)
    # A single sample has no density, so take the one nearest to all others.
    among = ordered[..., : count if count > 1 else S].sum(-1)
    best = among.argmin(-1)[..., None, None].expand(*order.shape[:-2], 1, S)
    return order.gather(-2, best)[..., 0, :count]


def consensus(samples: Tensor, chosen: Tensor) -> Tensor:
    """Return the ``(..., D)`` mean of the ``chosen`` ``(..., count)`` of ``(..., S, D)`` samples."""
    index = chosen[..., None].expand(*chosen.shape, samples.shape[-1])
    return samples.gather(-2, index).mean(-2)
