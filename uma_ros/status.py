"""How a node tells people what it does and what it refused, on /uma/status."""

from __future__ import annotations

import time

from uma.control.session import Transition
from uma.types import InputError
from uma_ros.msg import PolicyStatus
from uma_ros.names import STATUS
from uma_ros.runtime import UmaNode


class StatusSpeaker:
    """Fills and publishes PolicyStatus for one node; refusals go out at once and to the log, each text at most once a second.

    Attributes:
        message: what is published; the node sets the fields it knows.
    """

    def __init__(self, node: UmaNode) -> None:
        self._node = node
        self.message = PolicyStatus(node=node.get_name(), reason="starting")
        self._publisher = node.speak(PolicyStatus, node.settings.topics.status, STATUS)
        self._logged: dict[str, float] = {}

    def publish(self) -> None:
        self.message.header.stamp = self._node.get_clock().now().to_msg()
        self._publisher.publish(self.message)

    def transition(self, transition: Transition | None, reason: str) -> None:
        """Log and publish a change of state; take over the present reason in any case."""
        self.message.reason = reason
        if transition is not None:
            self._node.get_logger().info(f"{transition.old.name} -> {transition.new.name}: {transition.reason}")
            self.message.state = int(transition.new)
            self.publish()

    def refuse(self, topic: str, error: InputError | str) -> None:
        """Something that came in was not accepted: field, value and limit are in the error's text."""
        text = f"{topic} refused: {error}"
        self.message.num_refused += 1
        self.message.refused = text
        now = time.monotonic()
        if now - self._logged.get(topic, -1.0) > 1.0:
            self._logged[topic] = now
            self._node.get_logger().warning(text)
        self.publish()
