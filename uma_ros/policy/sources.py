"""Checks of tasks from topics and from the action, before they wait for their encoding."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from sensor_msgs.msg import Image

from uma.policy.goal import Matcher, SiftMatcher
from uma.types import InputError
from uma_ros.action import ExecuteTask
from uma_ros.messages.convert import nanoseconds, reference_from
from uma_ros.messages.frame_buffer import FrameBuffer, check_image
from uma_ros.messages.static_frames import StaticFrames
from uma_ros.msg import ReferenceMotion
from uma_ros.policy.tasks import FromGoal, FromInstruction, FromPrompt, FromReference, GivenTask

GOAL_PATIENCE = 5.0
"""Seconds that one image of a goal waits for the other. DDS may deliver a large message seconds late."""


class TaskSources:
    """Reads tasks from messages. The caller holds the lock of the buffer and the frames.

    Args:
        buffer: has the camera's intrinsics, once received.
        frames: static transforms.
        policy: returns the policy; None until it is loaded.
        matcher: of goal images; None = SIFT features.
    """

    def __init__(
        self, buffer: FrameBuffer, frames: StaticFrames, policy: Callable[[], Any], matcher: Matcher | None = None
    ) -> None:
        self._buffer, self._frames, self._policy = buffer, frames, policy
        self._matcher = matcher or SiftMatcher()
        self._halves: dict[str, tuple[Image, float]] = {}  # kind -> image of an incomplete goal, and its receipt

    def reference(self, msg: ReferenceMotion) -> FromReference:
        """Raises `InputError` for a malformed reference, or one in a frame without a transform to the camera."""
        reference_from(msg)
        if self._buffer.info is not None:
            self._frames.lookup(self._buffer.info.header.frame_id, msg.header.frame_id)
        return FromReference(msg)

    def instruction(self, text: str, field: str = "data") -> FromInstruction:
        """Raises `InputError` for an empty instruction, or a checkpoint that accepts none."""
        given, policy = FromInstruction(text.strip()), self._policy()
        if not given.text:
            raise InputError(f"{field}: empty, must be an instruction")
        if policy is not None:
            given.check(policy)
        return given

    def half(self, kind: str, msg: Image, now: float) -> FromGoal | None:
        """Take colour or depth of a goal image. Return the goal once both of one stamp are there.

        Raises:
            InputError: the image does not fit the camera.
        """
        self._check_goal(kind, msg)
        self._halves[kind] = (msg, now)
        found = {k: m for k, (m, _) in self._halves.items()}
        if len(found) < 2 or found["rgb"].header.stamp != found["depth"].header.stamp:
            return None
        self._halves.clear()
        return self._goal_images(**found)

    def late_halves(self, now: float) -> Iterator[tuple[str, str, str]]:
        """Drop the halves that waited for `GOAL_PATIENCE`.

        Yields:
            Kind of the image, kind of the missing one, and the stamp for a message.
        """
        for kind, (msg, received_at) in list(self._halves.items()):
            if now - received_at > GOAL_PATIENCE:
                del self._halves[kind]
                other = "depth" if kind == "rgb" else "rgb"
                yield kind, other, f"header.stamp: {nanoseconds(msg.header.stamp) * 1e-9:.9f}"

    def goal(self, goal: ExecuteTask.Goal) -> GivenTask:
        """Return the task of a goal of the action.

        Raises:
            InputError: not exactly one source, or one that is malformed.
        """
        has = {
            "reference": bool(goal.reference.keypoints),
            "instruction": bool(goal.instruction.strip()),
            "goal_rgb": bool(goal.goal_rgb.data),
            "goal_depth": bool(goal.goal_depth.data),
            "prompt": bool(goal.prompt.strip()),
        }
        given = [name for name, is_given in has.items() if is_given]
        if given == ["goal_rgb", "goal_depth"]:
            self._check_goal("rgb", goal.goal_rgb, "goal_rgb.")
            self._check_goal("depth", goal.goal_depth, "goal_depth.")
            return self._goal_images(goal.goal_rgb, goal.goal_depth)
        if len(given) != 1:
            names = "reference, instruction, goal_rgb with goal_depth, or prompt"
            raise InputError(f"goal: {' and '.join(given) or 'no source'}, must be exactly one of {names}")
        if given in (["goal_rgb"], ["goal_depth"]):
            raise InputError(f"{'goal_depth' if has['goal_rgb'] else 'goal_rgb'}: empty, {given[0]} needs it")
        if has["reference"]:
            return self.reference(goal.reference)
        return self.prompt(goal.prompt) if has["prompt"] else self.instruction(goal.instruction, "instruction")

    def prompt(self, path: str) -> FromPrompt:
        """Raises `InputError` for a file that is missing, damaged, or of another checkpoint."""
        given, policy = FromPrompt(path.strip()), self._policy()
        if policy is not None:
            given.check(policy)
        return given

    def _goal_images(self, rgb: Image, depth: Image) -> FromGoal:
        return FromGoal(rgb, depth, lambda: self._buffer.info, self._buffer.rgb_topic, self._matcher)

    def _check_goal(self, kind: str, msg: Image, field: str = "") -> None:
        """Raise `InputError` if an image of a goal is malformed or not the camera's."""
        try:
            check_image(msg, kind)
        except InputError as error:
            raise InputError(f"{field}{error}") from None
        camera = self._buffer.info
        if camera is None:
            return
        if msg.header.frame_id != camera.header.frame_id:
            raise InputError(
                f"{field}header.frame_id: {msg.header.frame_id!r:.80}, must be the camera's, {camera.header.frame_id!r}"
            )
        if (msg.width, msg.height) != (camera.width, camera.height):
            raise InputError(
                f"{field}width x height: {msg.width}x{msg.height}, must be {camera.width}x{camera.height} as the "
                "camera's"
            )
