"""Completeness check of a bag: messages before a fault that the bag lacks."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

from geometry_msgs.msg import PoseStamped
from harness import TOPICS, Graph
from rich.table import Table
from sensor_msgs.msg import Image
from uma_ros.msg import ActionChunk, MotionPrediction, PolicyStatus

from uma.types import InputError
from uma_ros.bags.reader import read_bag

KINDS = {
    TOPICS.action_chunk: ActionChunk,
    TOPICS.action_chunk_base: ActionChunk,
    TOPICS.predicted_motion: MotionPrediction,
    TOPICS.target_pose: PoseStamped,
    TOPICS.robot_pose: PoseStamped,
    TOPICS.status: PolicyStatus,
    TOPICS.rgb: Image,
    TOPICS.depth: Image,
}


def key(topic: str, msg) -> tuple:
    """Return the identity of a message: topic, node and stamp."""
    return topic, getattr(msg, "node", ""), msg.header.stamp.sec, msg.header.stamp.nanosec


class Received:
    """Identities of the messages that the client receives until `end`. Images count if a chunk answers them."""

    def __init__(self, graph: Graph) -> None:
        c = self._client = graph.client
        self.keys, self.at = set(), float("nan")
        self._lists = {
            TOPICS.action_chunk: c.chunks,
            TOPICS.action_chunk_base: c.base_chunks,
            TOPICS.predicted_motion: c.motions,
            TOPICS.target_pose: c.targets,
            TOPICS.robot_pose: c.poses,
            TOPICS.status: c.history,
            TOPICS.rgb: c.chunks,
            TOPICS.depth: c.chunks,
        }
        self._from = {topic: len(kept) for topic, kept in self._lists.items()}

    def end(self) -> None:
        """Stop collecting, at the start of the fault."""
        self.at = self._client.ros_time()
        for topic, kept in self._lists.items():
            self.keys |= {
                key(topic, entry[-1] if isinstance(entry, tuple) else entry) for entry in kept[self._from[topic] :]
            }

    def row(self, graph: Graph) -> dict:
        """Compare with the bag of the ended graph.

        Returns:
            Number of received messages, missing messages per topic, and the time from the first missing message to the
            fault, seconds of the ROS clock.
        """
        bag = Path(graph.options.record)
        recovered = bag.with_name("recovered")
        try:
            missing = self.keys - {
                key(topic, msg) for topic, _, msg in read_bag(recovered if recovered.exists() else bag, KINDS)
            }
        except InputError as error:
            print(error, file=sys.stderr)
            missing = self.keys
        first = min((k[2] + k[3] * 1e-9 for k in missing), default=self.at)
        return {"heard": len(self.keys), "missing": dict(Counter(k[0] for k in missing)), "missing_s": self.at - first}


def bag_table(rows: dict[str, list[dict]]) -> Table:
    """Return the table of the recorded runs."""
    table = Table(
        "fault",
        "runs",
        "received before the fault",
        "missing in the bag",
        "earliest missing message before the fault (s)",
        title="messages before the fault in the bag",
    )
    for name, runs in rows.items():
        runs = [r["bag"] for r in runs if r.get("bag")]
        missing = sum((Counter(r["missing"]) for r in runs), Counter())
        words = ", ".join(f"{n} of {topic}" for topic, n in missing.items())
        table.add_row(
            name,
            str(len(runs)),
            str(sum(r["heard"] for r in runs)),
            words or "0",
            f"{max(r['missing_s'] for r in runs):.2f}" if words else "",
        )
    return table
