"""State and refusals of a node on /uma/status."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from uma.control.session import Transition
from uma.types import InputError
from uma_ros.msg import PolicyStatus
from uma_ros.runtime.health import severity_of
from uma_ros.runtime.node import UmaNode
from uma_ros.runtime.topics import STATUS


class StatusPublisher:
    """Publishes the PolicyStatus of one node.

    Refusals are published at once. The log contains at most one refusal per topic and second. Every method may be
    called from any thread.

    Attributes:
        message: the published message. The executor's thread may set single fields. Groups of fields, and fields from
            another thread, go through `set_fields`.
    """

    def __init__(self, node: UmaNode) -> None:
        self._node = node
        self.message = PolicyStatus(node=node.get_name(), reason="starting")
        node.session_state = None
        self._publisher = node.make_publisher(PolicyStatus, node.settings.topics.status, STATUS)
        self._logged: dict[str, float] = {}
        self._lock = threading.RLock()

    def publish(self) -> None:
        with self._lock:
            self.message.header.stamp = self._node.get_clock().now().to_msg()
            self._publisher.publish(self.message)

    def set_fields(self, **fields: Any) -> None:
        """Set fields of the message together, and publish it."""
        with self._lock:
            for name, value in fields.items():
                setattr(self.message, name, value)
            self.publish()

    def transition(self, transition: Transition | None, reason: str) -> None:
        """Set the reason, also of the diagnostics. Log and publish a change of state, if there is one."""
        with self._lock:
            self.message.reason = reason
            if transition is not None:
                text = f"{transition.old.name} -> {transition.new.name}: {transition.reason}"
                self._node.log(severity_of(transition.new), text)
                self.set_fields(state=int(transition.new))
            self._node.session_state = self.message.state, reason

    def refuse(self, topic: str, error: InputError | str) -> None:
        """Publish and log a refused input on ``topic``; ``error`` contains field, value and limit."""
        text = f"{topic} refused: {error}"
        with self._lock:
            now = time.monotonic()
            if now - self._logged.get(topic, -1.0) > 1.0:
                self._logged[topic] = now
                self._node.get_logger().warning(text)
            self.set_fields(num_refused=self.message.num_refused + 1, refused=text)

    @contextmanager
    def refusing(self, topic: str) -> Iterator[None]:
        """Turn an `InputError` of the block into a refusal on ``topic``."""
        try:
            yield
        except InputError as error:
            self.refuse(topic, error)


def newly_refused(message: PolicyStatus, before: int, topic: str) -> bool:
    """Return whether ``message`` reports a refusal on ``topic`` after the first ``before`` refusals.

    A node reports the refusals of all its topics in one field. A late image does not answer a task.
    """
    return message.num_refused > before and message.refused.startswith(f"{topic} refused")
