"""Full names in the ROS graph, and the namespace of a graph. This module needs no ROS."""

from __future__ import annotations

import re

from uma.types import InputError

NAMESPACE = "namespace of the graph, such as left; empty: the root"
"""Description of the option ``--namespace`` of a command."""
MAX_NAMESPACE = 200
"""Longest namespace, characters. DDS limits a full name to 255."""


def full_name(name: str, namespace: str = "") -> str:
    """Return the full name of a topic, service or node, such as /left/uma/status.

    Args:
        name: relative to the namespace, or absolute.
        namespace: with or without a slash at its start; empty: the root.
    """
    return name if name.startswith("/") else "/" + "/".join(filter(None, (*namespace.split("/"), name)))


def check_namespace(namespace: str) -> None:
    """Raise `InputError` unless a text is a ROS namespace such as left, /left or lab/left; empty or / is the root."""
    parts = namespace.removeprefix("/")
    if len(namespace) > MAX_NAMESPACE:
        raise InputError(f"namespace: {len(namespace)} characters, limit {MAX_NAMESPACE}")
    if parts and not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*(/[A-Za-z_][A-Za-z0-9_]*)*", parts):
        raise InputError(
            f"namespace: {namespace!r}, must be names joined by /, each of letters, digits and underscores and not "
            "beginning with a digit"
        )
