"""Manager node: configures all nodes of a graph at once, then activates them one by one."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState, GetState
from rclpy.task import Future
from std_srvs.srv import Trigger

from uma.settings import setting
from uma.types import InputError
from uma_ros.runtime.node import UmaNode, leave, run_node
from uma_ros.runtime.topics import Topics

STEPS = {
    Transition.TRANSITION_CONFIGURE: ("configured", "inactive"),
    Transition.TRANSITION_ACTIVATE: ("activated", "active"),
    Transition.TRANSITION_DEACTIVATE: ("deactivated", "inactive"),
}
"""Transition -> its past participle for messages, and the name of the resulting state."""

QUERY_AFTER = 3.0
"""Seconds without an answer after which the manager requests the node's state."""


@dataclass(frozen=True)
class ManagerSettings:
    """Settings of the manager: the nodes, and the longest time of a transition."""

    nodes: list[str] = setting(
        ["station", "camera", "extrinsics", "policy", "controller"],
        "managed nodes, in the order of their activation; deactivation runs in reverse order",
    )
    patience: float = setting(
        120.0,
        "s; longest wait for a node to appear, and for one transition (the policy loads its checkpoint in one)",
        1.0,
        3600.0,
    )
    topics: Topics = field(default_factory=Topics)


class ManagerNode(UmaNode):
    """Serves uma/activate and uma/deactivate for the whole graph. The first activation needs no call."""

    def __init__(self) -> None:
        super().__init__("manager", ManagerSettings())

    def configure(self) -> None:
        group = self.create_group()
        kinds = ((ChangeState, "change_state"), (GetState, "get_state"))
        self._nodes = {
            name: [self.create_client(kind, f"{name}/{service}", callback_group=group) for kind, service in kinds]
            for name in self.settings.nodes
        }
        self._states = dict.fromkeys(self._nodes, "unknown")
        self._busy, self._trouble, self._wanted = threading.Lock(), "", "active"
        self.create_service(Trigger, "uma/activate", lambda _, r: self._answer(r, self._activate), callback_group=group)
        self.create_service(
            Trigger, "uma/deactivate", lambda _, r: self._answer(r, self._deactivate), callback_group=group
        )
        self.publish_configuration()
        self.create_steady_timer(0.2, self._look)

    def activate(self) -> None:
        self._begin(lambda: (self._configure(), self._activate()), fatal=True)

    def _look(self) -> None:
        """Raise in the main thread if the graph did not start. This ends the node and, as a rule, the graph."""
        if self._trouble:
            raise InputError(self._trouble)

    # -- in a thread: a transition may last as long as loading a checkpoint --------------------------------------------

    def _begin(self, work: Callable[[], object], fatal: bool) -> bool:
        """Start ``work`` in a thread. Return False if other work is in progress."""
        if not self._busy.acquire(blocking=False):
            return False

        def run() -> None:
            try:
                work()
            except InputError as error:
                self.get_logger().error(str(error))
                self._trouble = str(error) if fatal else ""
            finally:
                self._busy.release()

        threading.Thread(target=run, daemon=True).start()
        return True

    def _configure(self) -> None:
        for name, (change, _) in self._nodes.items():
            if not change.wait_for_service(self.settings.patience):
                raise InputError(f"{name}: no such node after {self.settings.patience:g} s")
        began = time.monotonic()
        futures = {
            name: self._request(name, Transition.TRANSITION_CONFIGURE) for name in self._nodes
        }  # at once: some nodes wait for files that others write
        for name, future in futures.items():
            self._finish(name, future, Transition.TRANSITION_CONFIGURE)
        self.get_logger().info(f"configured in {time.monotonic() - began:.1f} s: {', '.join(self._nodes)}")

    def _activate(self) -> None:
        self._wanted = "active"
        self._walk([n for n in self._nodes if self._states[n] == "inactive"], Transition.TRANSITION_ACTIVATE)

    def _deactivate(self) -> None:
        self._wanted = "inactive"
        self._walk([n for n in reversed(self._nodes) if self._states[n] == "active"], Transition.TRANSITION_DEACTIVATE)

    def _walk(self, names: Iterable[str], transition: int) -> None:
        for name in names:
            self._finish(name, self._request(name, transition), transition)
            self.get_logger().info(f"{name} {STEPS[transition][0]}")

    def _request(self, name: str, transition: int) -> Future:
        return self._nodes[name][0].call_async(ChangeState.Request(transition=Transition(id=transition)))

    def _finish(self, name: str, future: Future, transition: int) -> None:
        """Wait for the answer. DDS may lose the answer of a node that has just started.

        After `QUERY_AFTER` the manager requests the node's state, and repeats the transition if it did not happen.
        """
        (verb, wanted), deadline = STEPS[transition], time.monotonic() + self.settings.patience
        while not _is_done(future, QUERY_AFTER):
            if time.monotonic() > deadline:
                raise InputError(f"{name}: not {verb} within {self.settings.patience:g} s")
            state = self._nodes[name][1].call_async(GetState.Request())
            if not _is_done(state, QUERY_AFTER) or future.done():
                continue  # the transition is still running
            if state.result().current_state.label == wanted:
                break
            future = self._request(name, transition)
        else:
            if not future.result().success:
                raise InputError(f"{name}: could not be {verb}; see its log")
        self._states[name] = wanted

    def _answer(self, response: Trigger.Response, work: Callable[[], None]) -> Trigger.Response:
        """Answer at once. The work continues; the diagnostics report the nodes' states."""
        response.success = self._begin(work, fatal=False)
        response.message = "started" if response.success else "another transition is in progress"
        return response

    def waits(self) -> tuple[list[str], str]:
        """Return the nodes that a transition in progress has not reached yet."""
        wanted = self._wanted if self._busy.locked() else ""
        return [f"{name}: {state}" for name, state in self._states.items() if wanted not in ("", state)], ""

    def diagnose(self) -> dict:
        return dict(self._states)


def _is_done(future: Future, within: float) -> bool:
    """Return whether ``future`` completes ``within`` that many seconds. The node's own thread receives the answer."""
    done = threading.Event()
    future.add_done_callback(lambda _: done.set())
    return done.wait(within)


def main() -> int:
    return run_node(ManagerNode)


if __name__ == "__main__":
    leave(main())
