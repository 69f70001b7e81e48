"""Reading and writing rosbag2 bags (MCAP) by the rosbags package: plain Python, where no rosbag2 is installed."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.serialization import deserialize_message

from uma.types import InputError
from uma_ros.resources import find


@cache
def typestore() -> Any:
    """The message types of ROS 2 Jazzy and ours."""
    from rosbags.typesys import Stores, get_types_from_msg, get_typestore

    store, ours = get_typestore(Stores.ROS2_JAZZY), {}
    for path in sorted(find("msg").glob("*.msg")):
        ours.update(get_types_from_msg(path.read_text(), f"uma_ros/msg/{path.stem}"))
    store.register(ours)
    return store


def type_name(kind: type) -> str:
    """``sensor_msgs/msg/Image`` for the class."""
    package, interface = kind.__module__.split(".")[:2]
    return f"{package}/{interface}/{kind.__name__}"


def _qos(profile: QoSProfile) -> Any:
    from rosbags.interfaces import Qos, QosDurability, QosHistory, QosLiveliness, QosReliability, QosTime

    never = QosTime(9223372036, 854775807)
    return Qos(
        QosHistory.KEEP_LAST,
        profile.depth,
        QosReliability.RELIABLE if profile.reliability == ReliabilityPolicy.RELIABLE else QosReliability.BEST_EFFORT,
        QosDurability.TRANSIENT_LOCAL if profile.durability == DurabilityPolicy.TRANSIENT_LOCAL else QosDurability.VOLATILE,
        never,
        never,
        QosLiveliness.AUTOMATIC,
        never,
        False,
    )


class BagWriter:
    """An MCAP bag with a metadata.yaml, compressed by zstd in chunks. The folder must not exist."""

    def __init__(self, path: str | Path) -> None:
        from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer

        self._writer = Writer(Path(path), version=9, storage_plugin=StoragePlugin.MCAP)
        self._writer.set_compression(CompressionMode.STORAGE, CompressionFormat.ZSTD)
        self._writer.open()
        self._topics: dict[str, Any] = {}

    def add_topic(self, topic: str, kind: type, offered: QoSProfile) -> None:
        self._topics[topic] = self._writer.add_connection(topic, type_name(kind), typestore=typestore(), offered_qos_profiles=[_qos(offered)])

    def write(self, topic: str, time_ns: int, data: bytes) -> None:
        self._writer.write(self._topics[topic], time_ns, data)

    def close(self) -> None:
        self._writer.close()


def read_bag(path: str | Path, topics: dict[str, type] | None = None) -> Iterator[tuple[str, int, Any]]:
    """``(topic, time in ns, message)`` in the order of recording, for the topics in ``topics`` (name -> message class).

    Raises:
        InputError: there is no such bag.
    """
    from rosbags.rosbag2 import Reader, ReaderError

    try:
        with Reader(Path(path)) as reader:
            wanted = [c for c in reader.connections if topics is None or c.topic in topics]
            for connection, t, data in reader.messages(connections=wanted):
                yield connection.topic, t, deserialize_message(bytes(data), topics[connection.topic]) if topics else data
    except (ReaderError, FileNotFoundError) as error:
        raise InputError(f"bag {path}: {error}") from None


def bag_topics(path: str | Path) -> dict[str, tuple[str, int]]:
    """Topic -> (type name, number of messages)."""
    from rosbags.rosbag2 import Reader, ReaderError

    try:
        with Reader(Path(path)) as reader:
            return {topic: (info.msgtype or "", info.msgcount) for topic, info in sorted(reader.topics.items())}
    except (ReaderError, FileNotFoundError) as error:
        raise InputError(f"bag {path}: {error}") from None
