"""Dense optical flow between the images of a clip, by Farneback's method."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from uma_train.data.optional import needed

PYRAMID, LEVELS, WINDOW, ROUNDS, NEIGHBOURS, SIGMA = 0.5, 3, 9, 3, 5, 1.1
"""Arguments of OpenCV's method, for images of 16 to 100 pixels."""


def flow_fields(images: Tensor) -> Tensor:
    """Return the flow ``(B, n - 1, 2, h, w)`` from each image to the next, pixels to the right and down.

    Args:
        images: ``(B, n, 3, h, w)`` in 0 to 1.

    Raises:
        InputError: OpenCV is not installed.
    """
    cv2 = needed("cv2", "sim")
    grey = (255 * images.clamp(0, 1).mean(2)).round().to(torch.uint8).cpu().numpy()
    B, n, h, w = grey.shape
    out = np.zeros((B, n - 1, h, w, 2), np.float32)
    for b, i in np.ndindex(B, n - 1):
        # The method extrapolates noise into equal images.
        if not np.array_equal(grey[b, i], grey[b, i + 1]):
            out[b, i] = cv2.calcOpticalFlowFarneback(
                grey[b, i], grey[b, i + 1], None, PYRAMID, LEVELS, WINDOW, ROUNDS, NEIGHBOURS, SIGMA, 0
            )
    return torch.from_numpy(out).permute(0, 1, 4, 2, 3).contiguous().to(images.device)
