"""How a node tells people what it does and what it refused, on /uma/status."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from uma.control.session import Transition
from uma.types import InputError
from uma_ros.msg import PolicyStatus
from uma_ros.runtime.node import UmaNode
from uma_ros.runtime.topics import STATUS


class StatusPublisher:
    """Fills and publishes PolicyStatus for one node; refusals go out at once and to the log, each text at most once a
    second.

    Every method may be called from any thread.

    Attributes:
        message: what is published; the node sets the fields it knows. Fields that belong together, or that another
            thread than the executor's knows, go through `tell`.
    """

    def __init__(self, node: UmaNode) -> None:
        self._node = node
        self.message = PolicyStatus(node=node.get_name(), reason="starting")
        self._publisher = node.make_publisher(PolicyStatus, node.settings.topics.status, STATUS)
        self._logged: dict[str, float] = {}
        self._lock = threading.RLock()

    def publish(self) -> None:
        with self._lock:
            self.message.header.stamp = self._node.get_clock().now().to_msg()
            self._publisher.publish(self.message)

    def tell(self, **fields: Any) -> None:
        """Set fields of the message, all at once, and publish it."""
        with self._lock:
            for name, value in fields.items():
                setattr(self.message, name, value)
            self.publish()

    def transition(self, transition: Transition | None, reason: str) -> None:
        """Log and publish a change of state; take over the present reason in any case."""
        with self._lock:
            self.message.reason = reason
            if transition is not None:
                self._node.get_logger().info(f"{transition.old.name} -> {transition.new.name}: {transition.reason}")
                self.tell(state=int(transition.new))

    def refuse(self, topic: str, error: InputError | str) -> None:
        """Something that came in was not accepted: field, value and limit are in the error's text."""
        text = f"{topic} refused: {error}"
        with self._lock:
            now = time.monotonic()
            if now - self._logged.get(topic, -1.0) > 1.0:
                self._logged[topic] = now
                self._node.get_logger().warning(text)
            self.tell(num_refused=self.message.num_refused + 1, refused=text)

    @contextmanager
    def refusing(self, topic: str) -> Iterator[None]:
        """An `InputError` of the block becomes a refusal on ``topic``."""
        try:
            yield
        except InputError as error:
            self.refuse(topic, error)


def newly_refused(message: PolicyStatus, before: int, topic: str) -> bool:
    """Whether what ``message`` tells is a refusal on ``topic``, and newer than the ``before`` that were counted.

    A node tells refusals of all its topics in the same place: that an image or a state came late is no answer to a
    task.
    """
    return message.num_refused > before and message.refused.startswith(f"{topic} refused")
