"""The action that executes a task: one goal is one task of the policy.

A refused goal is accepted and then aborted, because ROS 2 rejects goals without a text.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, ClassVar

from builtin_interfaces.msg import Time
from rclpy.action import ActionServer, CancelResponse
from rclpy.action.server import ServerGoalHandle
from rclpy.node import Node
from rclpy.task import Future

from uma.control.session import State
from uma.types import InputError, Observation
from uma_ros.action import ExecuteTask
from uma_ros.policy.slot import Phase, TaskSlot
from uma_ros.policy.tasks import Encoded, GivenTask, Lookup

FEEDBACK_S = 0.5
"""Seconds between two feedbacks."""


class Outcome(IntEnum):
    """Outcomes with the numbers of action/ExecuteTask.action."""

    FINISHED = 0
    CANCELLED = 1
    REPLACED = 2
    HELD = 3
    REFUSED = 4


@dataclass(frozen=True)
class Situation:
    """State of the graph at one moment.

    Attributes:
        state, reason: of the policy; the reason names what the motion waits for.
        controller, controller_reason: of the controller, as in PolicyStatus; None without one.
        end_distance: metres from the tracked keypoints to the end of the reference; NaN if unknown.
        latency_ms: of the last chunk; NaN before the first.
    """

    state: State
    reason: str
    controller: int | None = None
    controller_reason: str = ""
    end_distance: float = float("nan")
    latency_ms: float = float("nan")


@dataclass(frozen=True)
class OfGoal:
    """The task of a goal. It is refused under the action's name."""

    task: GivenTask
    source: ClassVar[str] = "execute_task"

    def encode(self, policy: Any, observation: Observation, lookup: Lookup, stamp: Time) -> Encoded:
        return self.task.encode(policy, observation, lookup, stamp)


class Hold:
    """Measures how long a goal is held."""

    def __init__(self) -> None:
        self._since: float | None = None

    def reason(self, now: float, seen: Situation, limit: float) -> str:
        """Return why a goal must end; empty while it may go on.

        Args:
            now: seconds.
            limit: longest HOLD, seconds; 0 = no limit.
        """
        if seen.controller == State.FAULT:
            return f"controller in FAULT: {seen.controller_reason}"
        is_own = seen.state is State.HOLD
        if not is_own and (seen.state is not State.RUNNING or seen.controller != State.HOLD):
            self._since = None
            return ""
        self._since = now if self._since is None else self._since
        if not limit or now - self._since <= limit:
            return ""
        who, why = ("policy", seen.reason) if is_own else ("controller", seen.controller_reason)
        return f"{who} in HOLD for over {limit:g} s: {why}"


class _Goal:
    """A goal in execution."""

    def __init__(self, handle: ServerGoalHandle, given: OfGoal) -> None:
        self.handle, self.given = handle, given
        self.done: Future = Future()
        self.hold, self.told_at, self.told_in_force = Hold(), float("-inf"), False
        self.is_cancelled = False


class TaskAction:
    """The action server.

    Args:
        read: returns the task of a goal, or raises `InputError`.
        give: makes a task the next one of the policy.
        refuse: reports a refused goal.
    """

    def __init__(
        self,
        node: Node,
        name: str,
        tasks: TaskSlot,
        read: Callable[[ExecuteTask.Goal], GivenTask],
        give: Callable[[GivenTask], None],
        refuse: Callable[[InputError], None],
    ) -> None:
        self._node, self._tasks, self._read, self._give, self._refuse = node, tasks, read, give, refuse
        self._goals: list[_Goal] = []
        self._server = ActionServer(node, ExecuteTask, name, self._run, cancel_callback=self._on_cancel)

    def tick(self, now: float, seen: Situation, max_hold: float) -> None:
        """End the goals that are over, and send feedback for the others.

        Args:
            now: monotonic, seconds.
            max_hold: longest HOLD, seconds; 0 = no limit.
        """
        for goal in list(self._goals):
            ending = self._ending(goal, now, seen, max_hold)
            if ending is not None:
                self._goals.remove(goal)
                goal.done.set_result((*ending, seen.end_distance))
                continue
            in_force = self._tasks.phase(goal.given)[0] is Phase.ACTIVE
            if now - goal.told_at >= FEEDBACK_S or in_force != goal.told_in_force:
                goal.told_at, goal.told_in_force = now, in_force
                goal.handle.publish_feedback(feedback(seen, in_force))

    def _ending(self, goal: _Goal, now: float, seen: Situation, max_hold: float) -> tuple[Outcome, str] | None:
        """Return how a goal ended; None while it goes on. A held goal's task is dropped."""
        if goal.is_cancelled:
            return Outcome.CANCELLED, "cancelled: chunks ended, the controller holds"
        phase, text = self._tasks.phase(goal.given)
        if phase is Phase.REFUSED:
            return Outcome.REFUSED, text
        if phase is Phase.FINISHED:
            return Outcome.FINISHED, "task finished"
        if phase is Phase.GONE:
            return Outcome.REPLACED, f"replaced by a new task{': ' if text else ''}{text}"
        held = goal.hold.reason(now, seen, max_hold)
        if not held:
            return None
        self._tasks.drop(goal.given)
        return Outcome.HELD, held

    def _on_cancel(self, handle: ServerGoalHandle) -> CancelResponse:
        """End the chunks of a goal at once."""
        for goal in self._goals:
            if goal.handle == handle:
                self._tasks.drop(goal.given)
                goal.is_cancelled = True
        return CancelResponse.ACCEPT

    async def _run(self, handle: ServerGoalHandle) -> ExecuteTask.Result:
        if handle.is_cancel_requested:  # before its start
            return self._end(handle, Outcome.CANCELLED, "cancelled before its start")
        try:
            goal = _Goal(handle, OfGoal(self._read(handle.request)))
        except InputError as error:
            self._refuse(error)
            return self._end(handle, Outcome.REFUSED, str(error))
        self._give(goal.given)
        self._goals.append(goal)
        return self._end(handle, *await goal.done)

    def _end(
        self, handle: ServerGoalHandle, outcome: Outcome, message: str, distance: float = float("nan")
    ) -> ExecuteTask.Result:
        """Set the goal's final state and return its result."""
        {Outcome.FINISHED: handle.succeed, Outcome.CANCELLED: handle.canceled}.get(outcome, handle.abort)()
        self._node.get_logger().info(f"goal {outcome.name.lower()}: {message}")
        known = outcome in (Outcome.FINISHED, Outcome.HELD)
        return ExecuteTask.Result(
            outcome=int(outcome), message=message, end_distance_m=distance if known else float("nan")
        )


def feedback(seen: Situation, in_force: bool) -> ExecuteTask.Feedback:
    """Return the feedback message. The controller's reason counts while the policy runs and the controller does not.

    Args:
        in_force: whether the goal's own task is in force.
    """
    waits = seen.state is State.RUNNING and seen.controller not in (None, State.RUNNING)
    return ExecuteTask.Feedback(
        state=int(seen.state),
        controller_state=seen.controller or int(State.IDLE),
        reason=f"controller: {seen.controller_reason}" if waits else seen.reason,
        end_distance_m=seen.end_distance,
        latency_ms=seen.latency_ms,
        in_force=in_force,
    )
