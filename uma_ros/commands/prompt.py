"""`uma prompt FILE`: give the running policy a prompt file as its task; `uma prompt --back`: the task before."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from pathlib import Path

import rclpy
from rclpy.action import ActionClient
from rclpy.node import Node
from std_srvs.srv import Trigger

from uma.settings import from_words, setting
from uma.types import InputError
from uma_ros.action import ExecuteTask
from uma_ros.msg import ReferenceMotion
from uma_ros.runtime.client import called
from uma_ros.runtime.names import NAMESPACE, check_namespace, full_name
from uma_ros.runtime.topics import LATCHED, Topics


@dataclass(frozen=True)
class PromptOptions:
    """Give the running policy a prompt of `uma adapt` as its task. A refusal leaves the task in force."""

    file: str = setting("", "prompt file, on the policy's computer")
    back: bool = setting(False, "go back to the task before the present one")
    namespace: str = setting("", NAMESPACE)
    timeout: float = setting(20.0, "s; longest wait for the policy", 0.1, 3600.0)

    def __post_init__(self) -> None:
        check_namespace(self.namespace)
        if bool(self.file) == self.back:
            raise InputError("file, back: one of both must be given")


def main(argv: list[str]) -> int:
    """Run the command. Return 0 once the task is in force, else 1."""
    if argv and not argv[0].startswith("-"):  # `uma prompt FILE`
        argv = ["--file", *argv]
    args = from_words(PromptOptions, argv, "uma prompt")
    return _back(args) if args.back else _load(args)


def _back(args: PromptOptions) -> int:
    answer = called(Trigger, full_name("uma/previous_task", args.namespace), Trigger.Request(), args.timeout)
    text = f"no policy answers within {args.timeout:g} s" if answer is None else answer.message
    is_done = answer is not None and answer.success
    print(text, file=sys.stdout if is_done else sys.stderr)
    return 0 if is_done else 1


def _load(args: PromptOptions) -> int:
    rclpy.init()
    node = rclpy.create_node("uma_prompt")
    try:
        reason = given(node, args.file, args.namespace, args.timeout)
    finally:
        node.destroy_node()
        rclpy.try_shutdown()
    print(reason or f"in force: {args.file}", file=sys.stderr if reason else sys.stdout)
    return 1 if reason else 0


def given(node: Node, file: str, namespace: str, timeout: float) -> str:
    """Give the policy a prompt as its task, and wait until it is in force.

    Args:
        timeout: seconds.

    Returns:
        Why it is not in force; empty if it is.
    """
    topics, deadline = Topics().in_namespace(namespace), time.monotonic() + timeout
    echoes: list[ReferenceMotion] = []
    node.create_subscription(ReferenceMotion, topics.active_reference, echoes.append, LATCHED)
    client = ActionClient(node, ExecuteTask, topics.execute_task)
    if not client.wait_for_server(timeout):
        return f"no policy found within {timeout:g} s on {topics.execute_task}; is it in this ROS domain and namespace?"
    rclpy.spin_once(node, timeout_sec=0.5)
    end = time.monotonic() + 0.5
    while time.monotonic() < end:  # the latched echo of the present task
        rclpy.spin_once(node, timeout_sec=0.1)
    before, told = len(echoes), [""]
    path = str(Path(file).absolute()) if Path(file).exists() else file  # the policy may run in another folder
    sent = client.send_goal_async(
        ExecuteTask.Goal(prompt=path), feedback_callback=lambda m: told.__setitem__(0, m.feedback.reason)
    )
    ended = None
    while time.monotonic() < deadline:
        rclpy.spin_once(node, timeout_sec=0.1)
        if sent.done() and ended is None:
            ended = sent.result().get_result_async()
        if ended is not None and ended.done():
            return f"{ended.result().result.message}; the task in force stays"
        if any(not echo.keypoints and not echo.object_label for echo in echoes[before:]):
            return ""
    return f"sent, but not in force within {timeout:g} s; policy: {told[0] or 'no feedback'}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
