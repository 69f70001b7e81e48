"""Which of several sampled chunks is executed: those that agree are averaged, the others left out."""

from __future__ import annotations

import numpy as np


def closest(samples: np.ndarray, count: int) -> np.ndarray:
    """Indices of the sample in the densest place and of the ``count - 1`` nearest to it, the nearest first.

    Where the policy is in doubt its samples may fall into groups, such as pushing on and raising the tool: the mean of all lies between and does neither, a single
    draw is as noisy as the model, and changes its mind with every chunk. The mean of the samples that lie closest together is steady and decided.

    Args:
        samples: ``(S, ...)``, normalised.
        count: how many, 1 to S.

    Raises:
        ValueError: ``count`` is out of range.
    """
    if not 1 <= count <= len(samples):
        raise ValueError(f"count: {count}, must be 1 to {len(samples)}")
    flat = samples.reshape(len(samples), -1)
    distance = np.linalg.norm(flat[:, None] - flat[None], axis=-1)
    order = np.argsort(distance, axis=1, kind="stable")
    # A neighbourhood of one says nothing about density: then the sample that is nearest to all others.
    among = np.take_along_axis(distance, order[:, : count if count > 1 else None], 1).sum(1)
    return order[int(among.argmin()), :count]
