"""What the page needs of the robot's side. The node implements it with ROS; tests with plain data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from uma.types import ReferenceMotion
from uma_ros.teach.gatekeeper import NodeState
from uma_ros.teach.scene import View
from uma_ros.teach.task import Ask


@dataclass(frozen=True)
class Outlook:
    """A predicted chunk in the base frame.

    Attributes:
        tool: ``(H, 3)`` metres, places of the end effector.
        motion: ``(H, K, 3)`` metres, places of the keypoints; None without keypoints.
        seconds: duration.
    """

    tool: np.ndarray
    motion: np.ndarray | None
    seconds: float


@dataclass(frozen=True)
class Numbers:
    """Numbers for the operator.

    Attributes:
        image_age: seconds; infinity without an image.
        latency_ms: of the last chunk; NaN before the first.
        image_hz: images per second.
        holds: whether the controller holds without the operator's sign of life.
    """

    image_age: float = float("inf")
    latency_ms: float = float("nan")
    image_hz: float = 0.0
    holds: bool = False


Seen = Callable[[Outlook | None, str], None]
"""Takes a prediction, or None with the reason why there is none; called from any thread."""

Answer = Callable[[bool, str], None]
"""Takes whether a request succeeded, and a text; called from any thread."""


class Link(Protocol):
    """Every method may be called from any thread and returns at once."""

    def view(self) -> View | None:
        """Return the newest frame. Raises `InputError` with the reason why there is none."""
        ...

    def joints(self) -> tuple[np.ndarray | None, float]:
        """Return the newest joints ``(7,)`` rad, and the gripper, 0 open to 1 closed."""
        ...

    def state(self, node: str) -> NodeState | None: ...
    def numbers(self) -> Numbers: ...
    def outlook(self) -> Outlook | None:
        """Return the newest executed chunk; None if it is older than its duration."""
        ...

    def suggestion(self) -> ReferenceMotion | None:
        """Return the reference of the simulated scene, camera frame; None without one."""
        ...

    def camera_pose(self, frame: str) -> tuple[np.ndarray, np.ndarray, str]:
        """Return ``T_base_cam``, ``T_cam_frame`` and the camera's frame name. Raises `InputError` without them."""
        ...

    def preview(self, ask: Ask, done: Seen) -> None: ...
    def can_rehearse(self) -> bool:
        """Return whether a simulated station offers a copy of its scene."""
        ...

    def rehearse(self, ask: Ask, say: Callable[[str], object], done: Seen) -> None:
        """Execute a task in a copy of the simulated scene; ``say`` takes the progress, from any thread."""
        ...

    def start(self, ask: Ask, done: Answer) -> None: ...
    def stop(self) -> None: ...
    def call(self, service: str, done: Answer) -> None:
        """Call one of the operator's services, or previous_task of the policy."""
        ...

    def episode(self, command: str, text: str, done: Answer) -> None:
        """Send a command of srv/Episode.srv to the recorder of demonstrations."""
        ...

    def training(self) -> tuple[str, str]:
        """Return the folder of the demonstrations and the policy's checkpoint; empty where unknown."""
        ...

    def alive(self) -> None:
        """Pass on a sign of life of the operator's page."""
        ...
