"""Sources of tasks, and their encoding for the policy.

The echo of a task on /uma/active_reference suffices to encode the same task again. It contains a reference motion in
the camera frame, or an instruction as the label. An echo without both is of the prompt file of the parameter `prompt`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np
from builtin_interfaces.msg import Time
from sensor_msgs.msg import CameraInfo, Image

from uma.policy.goal import Matcher, SiftMatcher, match_goal
from uma.types import InputError, Observation, ReferenceMotion
from uma_ros.messages.convert import rectified_from, reference_from, reference_to
from uma_ros.msg import ReferenceMotion as ReferenceMsg
from uma_ros.runtime.resources import find

Lookup = Callable[[str, str], np.ndarray]
"""(target frame, source frame) -> ``(4, 4)`` transform; raises `InputError` if the frames are not connected."""


@dataclass(frozen=True)
class Encoded:
    """An encoded task.

    Attributes:
        task: the policy's task.
        echo: the message on /uma/active_reference.
        reference: the reference motion in the camera frame; None for an instruction or a prompt.
    """

    task: Any
    echo: ReferenceMsg
    reference: ReferenceMotion | None = None

    def __str__(self) -> str:
        if self.reference is not None:
            return f"{len(self.reference.waypoints)} keypoints, {self.reference.object_label or 'no label'}"
        return f"instruction {self.echo.object_label!r}" if self.echo.object_label else "the stored prompt"


class GivenTask(Protocol):
    """A task before its encoding. ``source`` is the name of its topic in `Topics`."""

    source: ClassVar[str]

    def encode(self, policy: Any, observation: Observation, lookup: Lookup, stamp: Time) -> Encoded:
        """Encode the task for ``policy``, with o_0 = ``observation`` at time ``stamp``.

        Raises:
            InputError: the task is refused.
        """
        ...


def _from_motion(policy: Any, observation: Observation, reference: ReferenceMotion, stamp: Time) -> Encoded:
    echo = reference_to(reference, stamp)
    reference = reference_from(
        echo
    )  # the policy receives the rounded values of the echo, so that a replay is bit-equal
    return Encoded(policy.encode_task(observation, reference), echo, reference)


def _without_motion(task: Any, observation: Observation, stamp: Time, label: str) -> Encoded:
    echo = ReferenceMsg(object_label=label)
    echo.header.frame_id, echo.header.stamp = observation.camera.frame, stamp
    return Encoded(task, echo)


@dataclass(frozen=True)
class FromReference:
    """A reference motion in any frame with a static transform to the camera."""

    msg: ReferenceMsg
    source: ClassVar[str] = "reference_motion"

    def encode(self, policy: Any, observation: Observation, lookup: Lookup, stamp: Time) -> Encoded:
        reference, frame = reference_from(self.msg), observation.camera.frame
        if reference.frame != frame:
            reference = reference.transformed(lookup(frame, reference.frame), frame)
        return _from_motion(policy, observation, reference, stamp)


@dataclass(frozen=True)
class FromGoal:
    """Colour and depth of the finished scene, from the same camera at the same pose (paper D.2).

    Attributes:
        camera_info: returns the camera's intrinsics, by which raw images are rectified.
        topic: topic of the camera's colour images, see `uma_ros.messages.intrinsics.is_raw`.
    """

    rgb: Image
    depth: Image
    camera_info: Callable[[], CameraInfo | None]
    topic: str = ""
    matcher: Matcher = SiftMatcher()
    source: ClassVar[str] = "goal_image"

    def encode(self, policy: Any, observation: Observation, lookup: Lookup, stamp: Time) -> Encoded:
        for name, msg in (("", self.rgb), ("depth ", self.depth)):
            if msg.header.frame_id != observation.camera.frame:
                raise InputError(
                    f"{name}header.frame_id: {msg.header.frame_id!r:.80}, must be the camera's, "
                    f"{observation.camera.frame!r}"
                )
        info = self.camera_info()
        if info is None:
            raise InputError("goal image: no camera_info yet")
        _, rgb, depth = rectified_from(self.rgb, self.depth, info, self.topic)
        try:
            reference = match_goal(
                observation,
                rgb,
                depth,
                self.matcher,
                max_keypoints=policy.contract.max_keypoints,
                object_label="goal image",
            )
        except ModuleNotFoundError as error:
            raise InputError(
                f"goal image: matching needs the Python package {error.name!r}; the extra 'perception' installs it"
            ) from None
        return _from_motion(policy, observation, reference, stamp)


@dataclass(frozen=True)
class FromInstruction:
    """An instruction in natural language (paper D.1)."""

    text: str
    source: ClassVar[str] = "instruction"

    def check(self, policy: Any) -> None:
        """Raise `InputError` for a checkpoint that accepts no instructions."""
        if not policy.takes_instructions:
            raise InputError(f"data: {self.text[:80]!r}, this checkpoint accepts reference motions only")

    def task(self, policy: Any, observation: Observation | None = None) -> Any:
        """Return the policy's task, for the scene of ``observation`` where the checkpoint needs one."""
        self.check(policy)
        return policy.encode_instruction(self.text, observation)

    def encode(self, policy: Any, observation: Observation, lookup: Lookup, stamp: Time) -> Encoded:
        return _without_motion(self.task(policy, observation), observation, stamp, self.text)


@dataclass(frozen=True)
class FromPrompt:
    """A file of task tokens found by adaptation (paper Eq. 7)."""

    path: str
    source: ClassVar[str] = "prompt"

    def check(self, policy: Any) -> None:
        """Raise `InputError` for a file that is missing, damaged, or of another checkpoint."""
        policy.check_prompt(self._file())

    def task(self, policy: Any, observation: Observation | None = None) -> Any:
        """Return the policy's task, for the scene of ``observation`` where the prompt needs one."""
        return policy.load_prompt(self._file(), observation)

    def _file(self) -> Path:
        path = find(self.path)
        if not path.is_file():
            raise InputError(f"prompt: {self.path}, must be a file")
        return path

    def encode(self, policy: Any, observation: Observation, lookup: Lookup, stamp: Time) -> Encoded:
        return _without_motion(self.task(policy, observation), observation, stamp, "")


@dataclass(frozen=True)
class FromBefore:
    """A task that was in force before, with the tokens that it had."""

    encoded: Encoded
    source: ClassVar[str] = "previous_task"

    def encode(self, policy: Any, observation: Observation, lookup: Lookup, stamp: Time) -> Encoded:
        return self.encoded


def from_echo(echo: ReferenceMsg, prompt: str) -> FromReference | FromInstruction | FromPrompt:
    """Return the task of an echo.

    Args:
        prompt: prompt file, for the echo of a stored prompt.

    Raises:
        InputError: the task was a stored prompt and ``prompt`` is empty.
    """
    if echo.keypoints:
        return FromReference(echo)
    if echo.object_label:
        return FromInstruction(echo.object_label)
    if not prompt:
        raise InputError("prompt: empty, must name the prompt file of the recorded task")
    return FromPrompt(prompt)
