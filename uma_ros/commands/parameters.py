"""The default configuration files, generated from the settings of every node."""

from __future__ import annotations

from typing import Any

from uma.robot import DROID
from uma.settings import allowed, flatten
from uma_ros.deployment.schema import settings_of


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return str(list(value))
    return f'"{value}"' if isinstance(value, str) else str(value)


def _range(rule: dict) -> str:
    live = "; may change while the node runs" if rule.get("live") else ""
    return (f"; {allowed(rule)}" if allowed(rule) else "") + live


def _commented(settings: Any, indent: str = "") -> list[str]:
    """Return the YAML lines of a dataclass without topic names. Every key has a comment with unit and range."""
    lines, open_section = [], ""
    for key, (value, rule) in flatten(settings).items():
        section, _, name = key.rpartition(".")
        if section == "topics":
            continue
        if section != open_section:
            lines += [f"{indent}{section}:"] if section else []
            open_section = section
        pad = indent + ("  " if section else "")
        lines.append(f"{pad}{name}: {_value(value)}  # {rule['description']}{_range(rule)}")
    return lines


def as_yaml(node: str, indent: str = "") -> str:
    """Return a node's section of the configuration file, which is for any namespace."""
    lines = [f"/**/{node}:", "  ros__parameters:", *_commented(settings_of(node), "    ")]
    return "\n".join(indent + line for line in lines)


def robot_yaml() -> str:
    """Return the robot's section of the robot file."""
    return "\n".join(_commented(DROID))


def topics_yaml() -> str:
    """Return the topic names as a section for all nodes, commented out."""
    lines = [
        "# Topic names of all nodes. Uncomment the section to change a name.",
        "# /**:",
        "#   ros__parameters:",
        "#     topics:",
    ]
    for key, (value, rule) in flatten(settings_of("policy")).items():
        if key.startswith("topics."):
            lines.append(f"#       {key.removeprefix('topics.')}: {_value(value)}  # {rule['description']}")
    return "\n".join(lines)
