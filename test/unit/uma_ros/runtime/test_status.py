"""Messages on /uma/status while two threads of a node publish."""

import sys
import threading
from types import SimpleNamespace

import pytest

pytest.importorskip("rclpy")

from builtin_interfaces.msg import Time

from uma.control.session import State, Transition
from uma_ros.runtime.health import Severity
from uma_ros.runtime.status import StatusPublisher


class Heard:
    """In the place of a node and its publisher: keeps of every message what must fit together."""

    def __init__(self) -> None:
        self.settings = SimpleNamespace(topics=SimpleNamespace(status="/uma/status"))
        self.said: list[tuple[int, int, int]] = []
        self.logged: list[tuple[Severity, str]] = []

    def get_name(self):
        return "policy"

    def make_publisher(self, *_):
        return self

    def get_clock(self):
        return SimpleNamespace(now=lambda: SimpleNamespace(to_msg=Time))

    def get_logger(self):
        return SimpleNamespace(warning=lambda _: None)

    def log(self, severity, text):
        self.logged.append((severity, text))

    def publish(self, message):
        self.said.append((len(message.stages), len(message.latency_ms), message.num_refused))


def test_status_keeps_every_refusal_and_its_state():
    node = Heard()
    status, rounds = StatusPublisher(node), 10_000
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)

    def work() -> None:  # as the policy's worker does
        for i in range(rounds):
            n = 1 + i % 5
            status.set_fields(stages=["s"] * n, latency_ms=[1.0] * n, sequence=i)
            status.refuse("/zed", "depth: 3 valid pixels")

    thread = threading.Thread(target=work)
    thread.start()
    try:
        for _ in range(rounds):  # as its executor does
            status.publish()
            status.refuse("/pose", "header.stamp: 0.4 s old, limit 0.3 s")
            status.transition(Transition(State.READY, State.RUNNING, "started", 0.0), "started")
    finally:
        thread.join()
        sys.setswitchinterval(interval)
    assert len(node.said) == 5 * rounds and all(stages == latencies for stages, latencies, _ in node.said)
    assert status.message.num_refused == 2 * rounds and [n for *_, n in node.said] == sorted(n for *_, n in node.said)


@pytest.mark.parametrize("state", State)
def test_the_log_has_the_severity_of_the_state(state):
    node = Heard()
    status = StatusPublisher(node)
    assert node.session_state is None
    status.transition(Transition(State.IDLE, state, "robot: silent", 0.0), "robot: silent")
    wanted = {State.HOLD: Severity.WARN, State.FAULT: Severity.ERROR}.get(state, Severity.OK)
    assert node.logged == [(wanted, f"IDLE -> {state.name}: robot: silent")]
    status.transition(None, "robot: silent for longer")
    assert node.session_state == (state, "robot: silent for longer") and len(node.logged) == 1
