"""Names of parameters: those that every node has, those that were removed, and a check of the given ones."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from uma.settings import nearest
from uma.types import InputError

REMOVED = {"controller": {"lead_s": "removed in 0.1.0"}}
"""Node -> parameter of an older configuration file -> when it was removed. A file may still set it, without effect."""
OF_EVERY_NODE = frozenset({"managed", "robot", "use_sim_time", "start_type_description_service"})
"""Parameters that `UmaNode` and rclpy declare."""
OPEN_PREFIXES = ("qos_overrides.",)
"""Prefixes of the names that rclpy declares per topic."""


def unknown_names(node: str, given: Iterable[str], known: Collection[str]) -> list[str]:
    """Return the names of ``given`` that a node neither has nor had, in order.

    Args:
        node: default name of the node.
        known: names of the node's own parameters.
    """
    old = REMOVED.get(node, {})
    return sorted(
        name
        for name in set(given)
        if name not in known and name not in OF_EVERY_NODE and name not in old and not name.startswith(OPEN_PREFIXES)
    )


def check_names(node: str, given: Collection[str], known: Collection[str], shared: Collection[str] = ()) -> list[str]:
    """Return one warning per name without effect: a removed one, or one for all nodes that resembles a known one.

    Args:
        node: default name of the node.
        given: names of the parameters with a value from outside.
        known: names of the node's own parameters.
        shared: names in sections for all nodes, where a name may belong to another node.

    Raises:
        InputError: a given name is unknown. The message contains the nearest known name.
    """
    warnings = [f"{name}: {why}, without effect" for name, why in REMOVED.get(node, {}).items() if name in given]
    for name in unknown_names(node, given, known):
        hint = nearest(name, known, 0.85 if name in shared else 0.6)
        if name not in shared:
            raise InputError(f"{name}: unknown parameter of {node}{hint}")
        if hint:
            warnings.append(f"{name}: unknown parameter of {node}, given for all nodes{hint}")
    return warnings
