"""Which hosts discover the nodes."""

from __future__ import annotations

from collections.abc import Mapping

RANGE = "ROS_AUTOMATIC_DISCOVERY_RANGE"
"""Environment variable of the ROS middleware."""
HOSTS = {
    "LOCALHOST": "this host",
    "SUBNET": "the local network",
    "OFF": "nobody",
    "SYSTEM_DEFAULT": "whom the middleware's own configuration names",
}
"""Value of `RANGE` -> who discovers the nodes."""


def discovery_range(choice: str, environment: Mapping[str, str]) -> str:
    """Return the value of `RANGE` for a launch argument: the choice, else the environment's, else this host alone."""
    return choice.upper() or environment.get(RANGE, "") or "LOCALHOST"


def discovery_line(value: str, environment: Mapping[str, str]) -> str:
    """Return the line that a start prints about the value of `RANGE`."""
    domain = environment.get("ROS_DOMAIN_ID", "") or "0"
    hint = "; for a second PC, discovery:=subnet on both" if value == "LOCALHOST" else ""
    return f"discovery: {HOSTS.get(value, value)}, domain {domain}{hint}"
