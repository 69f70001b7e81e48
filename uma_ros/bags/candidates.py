"""Topics of a bag: those of a graph in a namespace, and likely ones of a foreign bag with the user's choice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from typing import TYPE_CHECKING

from uma.types import InputError
from uma_ros.runtime.topics import Topics

if TYPE_CHECKING:
    from uma_ros.bags.tables import Channel

IMAGE = "sensor_msgs/msg/Image"
STATUS = "uma_ros/msg/PolicyStatus"
"""Type of the topic by which a graph in a bag is known."""
INPUTS = {
    "rgb": IMAGE,
    "depth": IMAGE,
    "camera_info": "sensor_msgs/msg/CameraInfo",
    "robot_pose": "geometry_msgs/msg/PoseStamped",
    "joint_states": "sensor_msgs/msg/JointState",
}
"""Name in `Topics` -> type, of the recorded inputs of a policy."""
ALIASES = {"colour": "rgb", "color": "rgb", "info": "camera_info", "pose": "robot_pose", "joints": "joint_states"}
PACKED = ("sensor_msgs/msg/CompressedImage", "ffmpeg_image_transport_msgs/msg/FFMPEGPacket")
"""Types of compressed images, which no reader here takes."""
MAX_CANDIDATES = 5


def namespaces(channels: Sequence[Channel]) -> list[str]:
    """Return the namespaces of the graphs in a bag, such as /left; empty text: the root."""
    end = Topics().in_namespace().status
    return sorted({c.topic.removesuffix(end) for c in channels if c.kind == STATUS and c.topic.endswith(end)})


def graph_topics(channels: Sequence[Channel], namespace: str = "") -> Topics:
    """Return the full names of the topics of a graph in a bag.

    Args:
        namespace: of the graph; / is the root. Empty: the root, or the only namespace in the bag.

    Raises:
        InputError: the bag has no such graph, or several and none in the root.
    """
    found = namespaces(channels)
    wanted = f"/{namespace.strip('/')}".rstrip("/") if namespace else found[0] if len(found) == 1 else ""
    if found and wanted not in found:
        there = ", ".join(name or "/" for name in found)
        raise InputError(f"namespace: {namespace!r}, the bag has graphs in {there}; choose one of them")
    return Topics().in_namespace(wanted)


def chosen_topics(words: Sequence[str], default: Topics | None = None) -> Topics:
    """Return the topics with the user's ``NAME=TOPIC``.

    Raises:
        InputError: a malformed word or an unknown name.
    """
    topics, known = default or Topics().in_namespace(), [f.name for f in fields(Topics)]
    for word in words:
        name, sign, topic = word.partition("=")
        name = ALIASES.get(name, name)
        if not sign or name not in known:
            raise InputError(f"topic: {word!r:.80}, must be NAME=TOPIC with a name of {', '.join(known)}")
        if not topic.startswith("/") or topic != topic.strip() or len(topic) < 2:
            raise InputError(f"topic: {word!r:.80}, must name a topic that begins with /")
        topics = replace(topics, **{name: topic})
    return topics


def _fits(name: str, channel: Channel) -> bool:
    """Return whether a channel may be the input ``name``. Images are told apart by their names."""
    if channel.kind != INPUTS[name] or channel.problem or not channel.count:
        return False
    text = channel.topic.lower()
    if name in ("rgb", "depth"):
        return any(word in text for word in ("depth", "disparity")) == (name == "depth")
    return name != "camera_info" or "depth" not in text


def _rank(name: str, channel: Channel) -> tuple[bool, bool, int]:
    """Order candidates: infrared and right images last, rectified or registered first, then the most messages."""
    text = channel.topic.lower()
    good = ("rect",) if name != "depth" else ("registered", "aligned")
    bad = ("infra", "right", "confidence", "fisheye", "target", "goal")
    return any(word in text for word in bad), not any(word in text for word in good), -channel.count


def candidates(channels: Sequence[Channel]) -> dict[str, list[str]]:
    """Return input -> topics of the bag that may be it, best first. Inputs under their own names are left out."""
    topics, there = Topics().in_namespace((namespaces(channels) or [""])[0]), {channel.topic for channel in channels}
    found = {}
    for name in INPUTS:
        fitting = sorted((c for c in channels if _fits(name, c)), key=lambda c: _rank(name, c))
        if getattr(topics, name) not in there and fitting:
            found[name] = [channel.topic for channel in fitting[:MAX_CANDIDATES]]
    return found


def describe(channels: Sequence[Channel]) -> str:
    """Return a table of the topics, and lines about candidates and unreadable topics."""
    if not channels:
        return "(no topics)"
    width = max(len(channel.topic) for channel in channels)
    lines = [
        f"{c.topic:<{width}}  {c.count:7d}  {c.kind or '-'}{f'  ({c.problem})' if c.problem else ''}" for c in channels
    ]
    if (inside := namespaces(channels)) and inside != [""]:
        lines += ["", f"graphs in the namespaces {', '.join(name or '/' for name in inside)}"]
    if found := candidates(channels):
        lines += ["", "likely topics of other names:"]
        lines += [f"  {name:<12}  {', '.join(topics)}" for name, topics in found.items()]
        words = " ".join(f"{name}={topics[0]}" for name, topics in found.items())
        lines.append(f"use them with --topic {words}")
    if packed := [channel.topic for channel in channels if channel.kind in PACKED]:
        lines += ["", f"compressed images are not read: {', '.join(packed[:MAX_CANDIDATES])}"]
    return "\n".join(lines)
