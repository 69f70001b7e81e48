"""The interface between a checkpoint and a robot."""

from __future__ import annotations

from dataclasses import dataclass

from uma.model.frame import PolicyFrame
from uma.robot import DROID
from uma.settings import within
from uma.types import HORIZON, MAX_KEYPOINTS, RATE_HZ


@dataclass(frozen=True)
class Contract:
    """The interface between a checkpoint and a robot.

    Attributes:
        rate_hz, horizon: action rate and number of actions of a chunk.
        max_keypoints: most keypoints in a reference motion.
        ee_frame: the end-effector frame of the actions and of the measured pose.
        image_width, image_height: image size in training, pixels. The point cloud does not depend on it.
        min_depth_m, max_depth_m: depth range in training.
        policy_frame: the frame of the model's inputs and outputs.
    """

    rate_hz: float = RATE_HZ
    horizon: int = HORIZON
    max_keypoints: int = MAX_KEYPOINTS
    ee_frame: str = DROID.ee_frame
    image_width: int = 320
    image_height: int = 180
    min_depth_m: float = 0.3
    max_depth_m: float = 3.0
    policy_frame: PolicyFrame = PolicyFrame()

    def __post_init__(self) -> None:
        within(
            self,
            {
                "rate_hz": (1.0, 1000.0),
                "horizon": (1, 1024),
                "max_keypoints": (1, MAX_KEYPOINTS),
                "image_width": (1, 4096),
                "image_height": (1, 4096),
                "min_depth_m": (0.0, 100.0),
                "max_depth_m": (0.0, 100.0),
            },
        )
        if not self.ee_frame:
            raise ValueError("ee_frame: empty, must name the frame that the actions place")
