"""rosbag2's metadata of a bag: metadata.yaml (version 9) and the offered QoS profiles."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import yaml
from rclpy.qos import DurabilityPolicy, HistoryPolicy, LivelinessPolicy, QoSProfile, ReliabilityPolicy

NEVER = {"sec": 9223372036, "nsec": 854775807}
"""rosbag2's infinite duration."""
POLICIES: dict[str, Any] = {
    "history": HistoryPolicy,
    "reliability": ReliabilityPolicy,
    "durability": DurabilityPolicy,
    "liveliness": LivelinessPolicy,
}
"""Fields of a profile that are numbers before version 9."""

DEFAULTS: dict[str, Any] = {
    "history": "unknown",
    "depth": 0,
    "reliability": "reliable",
    "durability": "volatile",
    "deadline": NEVER,
    "lifespan": NEVER,
    "liveliness": "automatic",
    "liveliness_lease_duration": NEVER,
    "avoid_ros_namespace_conventions": False,
}
"""Fields of a profile, and their values where a bag has none."""

Profiles = list[dict[str, Any]]


@dataclass(frozen=True)
class Topic:
    """A topic of a bag.

    Attributes:
        kind: type name, ``sensor_msgs/msg/Image``.
        type_hash: RIHS01 hash of the type; empty for unknown types.
        profiles: the offered profiles, from `profiles_of` or `parse_profiles`.
    """

    name: str
    kind: str
    type_hash: str
    profiles: Profiles


def profiles_of(offered: QoSProfile) -> Profiles:
    """Return the offered profiles of one publisher. The remaining policies have rosbag2's defaults."""
    reliable = offered.reliability == ReliabilityPolicy.RELIABLE
    latched = offered.durability == DurabilityPolicy.TRANSIENT_LOCAL
    return [
        {
            "history": "keep_last",
            "depth": offered.depth,
            "reliability": "reliable" if reliable else "best_effort",
            "durability": "transient_local" if latched else "volatile",
            "deadline": dict(NEVER),
            "lifespan": dict(NEVER),
            "liveliness": "automatic",
            "liveliness_lease_duration": dict(NEVER),
            "avoid_ros_namespace_conventions": False,
        }
    ]


def parse_profiles(text: str) -> Profiles:
    """Return the profiles in a channel's metadata of any version, converted to version 9.

    Before version 9 the policies are numbers, and fields may be missing; unknown values become rosbag2's defaults.

    Raises:
        ValueError: the text is not a list of profiles.
    """
    try:
        profiles = yaml.safe_load(text) or []
    except yaml.YAMLError as error:
        raise ValueError(f"offered_qos_profiles: {str(error)[:120]}, must be a list of profiles") from None
    if not isinstance(profiles, list) or not all(isinstance(profile, dict) for profile in profiles):
        raise ValueError(f"offered_qos_profiles: {str(profiles)[:120]}, must be a list of profiles")
    return [_completed(profile) for profile in profiles]


def _completed(profile: dict[str, Any]) -> dict[str, Any]:
    """Return a profile of version 9 with every field."""
    result: dict[str, Any] = {}
    for name, default in DEFAULTS.items():
        value = profile.get(name, default)
        if name in POLICIES:
            names = {policy.value: policy.name.lower() for policy in POLICIES[name]}
            value = names.get(value, default) if isinstance(value, int) else str(value).lower()
            result[name] = value if value in names.values() else default
        elif isinstance(default, dict):
            given = value if isinstance(value, dict) else {}
            result[name] = {part: _whole_number(given.get(part), default[part]) for part in default}
        elif isinstance(default, bool):
            result[name] = value is True
        else:
            result[name] = _whole_number(value, default)
    return result


def _whole_number(value: Any, default: int) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else default


def dump(data: Any) -> str:
    """Return block YAML without aliases, with sorted keys."""
    return yaml.dump(data, Dumper=_Plain, default_flow_style=False, sort_keys=True)


class _Plain(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True


def information(file: str, topics: Iterable[tuple[Topic, int]], start_ns: int, end_ns: int) -> dict[str, Any]:
    """Return the `rosbag2_bagfile_information` of a bag with one MCAP file.

    Args:
        file: name of the MCAP file.
        topics: topics with their numbers of messages.
        start_ns, end_ns: times of the first and the last message, ns.
    """
    listed = [
        {
            "topic_metadata": {
                "name": topic.name,
                "type": topic.kind,
                "serialization_format": "cdr",
                "offered_qos_profiles": topic.profiles,
                "type_description_hash": topic.type_hash,
            },
            "message_count": count,
        }
        for topic, count in topics
    ]
    span = {
        "starting_time": {"nanoseconds_since_epoch": start_ns},
        "duration": {"nanoseconds": max(0, end_ns - start_ns)},
        "message_count": sum(row["message_count"] for row in listed),
    }
    return {
        "version": 9,
        "storage_identifier": "mcap",
        "relative_file_paths": [file],
        **span,
        "topics_with_message_count": listed,
        "compression_format": "",
        "compression_mode": "",
        "files": [{"path": file, **span}],
        "custom_data": None,
        "ros_distro": "jazzy",
    }
