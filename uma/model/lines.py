"""The direction of the reference's keypoints as the gripper sees it (`ModelConfig.lines`).

Each task token states the spread of the keypoints about their centre at its phase, in six channels of its own. The
context gets it in the end-effector frame: fingers that hold a long object across must turn until it lies across again.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from uma.model.config import ModelConfig
from uma.model.encoders import EndEffectorBatch
from uma.model.orientation import AXIS_FEATURES, Addition

ROWS, COLUMNS = (0, 1, 2, 0, 0, 1), (0, 1, 2, 1, 2, 2)
"""Matrix entries of the features, in the order of `uma.model.orientation.axis`."""


def in_frame(line: Tensor, R: Tensor) -> Tensor:
    """Rotate ``(B, M, 6)`` products of coordinates into the frame whose axes are the columns of ``(B, 3, 3)`` R."""
    xx, yy, zz, xy, xz, yz = line.unbind(-1)
    rows = [torch.stack(row, -1) for row in ((xx, xy, xz), (xy, yy, yz), (xz, yz, zz))]
    S, R = torch.stack(rows, -2), R[:, None]
    # No matrix product, because autocast would round it to bfloat16.
    SR = (S[..., :, :, None] * R[..., None, :, :]).sum(-2)
    turned = (R[..., :, :, None] * SR[..., :, None, :]).sum(-3)
    return turned[..., ROWS, COLUMNS]


class Lines(nn.Module):
    """Adds the lines to the task tokens, and all of them to the end-effector token.

    The initial output is zero. Without a robot, every line is zero.
    """

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.each = Addition(AXIS_FEATURES, config.width)
        self.together = Addition(config.task_tokens * AXIS_FEATURES, config.width)

    def forward(self, line: Tensor, ee: EndEffectorBatch) -> tuple[Tensor, Tensor]:
        """``(B, M, 6)`` lines -> additions to the task tokens ``(B, M, d)`` and to the state ``(B, d)``."""
        x = in_frame(line, ee.pose[:, :3, :3])
        if ee.is_known is not None:
            x = x * ee.is_known[:, None, None]
        return self.each(x), self.together(x.flatten(1))
