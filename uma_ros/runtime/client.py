"""One call of a service, for commands."""

from __future__ import annotations

import os
import time
from typing import Any

import rclpy


def called(kind: type, name: str, request: Any, timeout: float) -> Any | None:
    """Return the answer of the service ``name``; None if none came within ``timeout`` seconds.

    The request is sent once. An answer that is lost, because the server has not discovered the client yet, is None.
    """
    rclpy.init()
    node = rclpy.create_node(f"uma_client_{os.getpid()}")
    try:
        client, deadline = node.create_client(kind, name), time.monotonic() + timeout
        if not client.wait_for_service(timeout):
            return None
        rclpy.spin_once(node, timeout_sec=0.5)  # the server discovers the client
        future = client.call_async(request)
        rclpy.spin_until_future_complete(node, future, timeout_sec=max(deadline - time.monotonic(), 0.1))
        return future.result() if future.done() else None
    finally:
        node.destroy_node()
        rclpy.try_shutdown()
