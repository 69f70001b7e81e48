"""Whether Start is permitted, and if not, why, in words."""

from __future__ import annotations

from dataclasses import dataclass, field

from uma.control.session import State
from uma.sketch.reach import Hint


@dataclass(frozen=True)
class NodeState:
    """State of a node from its last status.

    Attributes:
        state: as in PolicyStatus.
        reason: of the state.
        age: seconds since the status.
    """

    state: State
    reason: str = ""
    age: float = 0.0


SILENT_S = 2.0
"""A node whose status is older counts as silent, seconds."""


@dataclass(frozen=True)
class Facts:
    """What Start depends on.

    Attributes:
        is_operator: whether the page that asks has control.
        task: key of the task; empty without one.
        previewed: key of the last successful preview's task.
        policy, controller: their states; None before the first status.
        moved: why the object may have moved since the click; empty if it has not.
        hints: objections to the sketch.
        start_service: full name of the service that starts the controller.
        waits: whether an answer to a click waits, which may replace the object.
    """

    is_operator: bool
    task: str
    previewed: str
    policy: NodeState | None
    controller: NodeState | None
    moved: str = ""
    hints: list[Hint] = field(default_factory=list)
    start_service: str = "/uma/start"
    waits: bool = False


def refusals(facts: Facts) -> list[str]:
    """Return why Start is refused, one sentence each; empty if it is permitted."""
    out = []
    if not facts.is_operator:
        out.append("another page has control; take control first")
    if not facts.task:
        out.append("no task: click an object and drag it, or ask in words")
    out += [why for why in (_policy(facts.policy), _controller(facts)) if why]
    if facts.task:
        if facts.previewed != facts.task:
            out.append("not previewed: press Preview, since the task changed or was never previewed")
        if facts.waits:
            out.append("an answer to a click waits: keep it (K) or drop it (X)")
        if facts.moved:
            out.append(facts.moved)
        out += [
            f"waypoint {hint.waypoint}: {hint.text}" if hint.waypoint is not None else hint.text
            for hint in facts.hints
            if hint.is_refusal
        ]
    return out


def _policy(policy: NodeState | None) -> str:
    if policy is None or policy.age > SILENT_S:
        return "the policy is silent"
    if policy.state is State.RUNNING:
        return "the policy acts already; stop it first"
    return "" if policy.state is State.READY else f"the policy is in {policy.state.name}: {policy.reason}"


def _controller(facts: Facts) -> str:
    controller = facts.controller
    if controller is None or controller.age > SILENT_S:
        return "the controller is silent"
    if controller.state is State.FAULT:
        return f"the controller is in FAULT: {controller.reason}; press Recover"
    # After a stop, at the end of the way home and after a silence of the robot, nothing but a start is missing.
    is_waiting = controller.state is State.IDLE and controller.reason.endswith(f"waiting for {facts.start_service}")
    if controller.state is State.READY or is_waiting:
        return ""
    return f"the controller is in {controller.state.name}: {controller.reason}"
