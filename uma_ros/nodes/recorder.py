"""Recorder node: writes every topic of the stack to MCAP bags, as the received bytes.

One bag of the whole run (`path`), one bag a demonstration (`demonstrations`, service uma/episode), or both.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path

from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import PoseStamped
from rclpy.event_handler import SubscriptionEventCallbacks
from rclpy.qos import QoSProfile
from sensor_msgs.msg import CameraInfo, Image, JointState, PointCloud2
from std_msgs.msg import String
from tf2_msgs.msg import TFMessage
from visualization_msgs.msg import MarkerArray

from uma.control.session import Session
from uma.settings import setting
from uma.types import InputError
from uma_ros.bags.episode_folder import DISCARDED, FAILURE, SUCCESS, UNMARKED
from uma_ros.bags.episodes import MOST_KEPT, Episodes, EpisodeTopic
from uma_ros.bags.writer import BagWriter
from uma_ros.msg import ActionChunk, Keypoints, MotionPrediction, PolicyStatus, ReferenceMotion
from uma_ros.runtime.lifecycle import INACTIVE
from uma_ros.runtime.node import UmaNode, leave, run_node
from uma_ros.runtime.status import StatusPublisher
from uma_ros.runtime.topics import COMMAND, CONFIGURATION, LATCHED, STATUS, Topics, qos_profile
from uma_ros.srv import Episode

STREAM = qos_profile(500, reliable=False)
QUEUE = qos_profile(50, reliable=True)
MAX_EARLY = 64 * 1024 * 1024
"""Bytes of messages that wait for a simulated clock to start."""


@dataclass(frozen=True)
class RecorderSettings:
    """Settings of the recorder: the folders of its bags, and the share of the images."""

    path: str = setting("", "folder of the bag of the whole run; must be new; empty: none")
    demonstrations: str = setting("", "folder of the demonstrations, one bag an episode; empty: none")
    image_every: int = setting(
        1, "record every n-th image; a replay needs 1, because it uses the policy's own images", 1, 1000
    )
    topics: Topics = field(default_factory=Topics)


class RecorderNode(UmaNode):
    def __init__(self) -> None:
        super().__init__("recorder", RecorderSettings())

    def configure(self) -> None:
        path, demonstrations = self.settings.path, self.settings.demonstrations
        if not (path or demonstrations) or (path and Path(path).exists()):
            raise InputError(f"path: {path!r}, must name a folder that does not exist yet")
        self.bag = BagWriter(path) if path else None
        self.episodes: Episodes | None = None
        if demonstrations:
            self.episodes = Episodes(demonstrations, self._episode_topics(), self.topics.rgb)
            self.create_service(Episode, "uma/episode", self._on_episode)
        self._early: list[tuple[str, bytes]] = []
        self._skipped: dict[str, int] = {}
        self._lossy: set[str] = set()
        for topic, (kind, subscribed, offered) in self._sources().items():
            self._record(topic, kind, subscribed, offered)
        t = self.topics
        self.session = Session(autostart=True)
        self.status = StatusPublisher(self)
        self._needed = {t.rgb, t.depth, t.camera_info, t.robot_pose, t.joint_states, t.tf_static}
        self._needed |= {t.status} if path else set()
        self.publish_configuration()
        self.create_steady_timer(0.2, self._tick)

    def _tick(self) -> None:
        """Publish the state: RUNNING after one message on every topic that a replay needs."""
        self._check_episode()
        if self.bag and self.bag.trouble and not self.problems.get("bag"):
            kept = (
                f"the recording has ended with {self.bag.num_messages} readable messages"
                if self.bag.num_messages
                else "no message is readable"
            )
            self.problem("bag", f"{self.bag.trouble}; {kept}", is_error=True)
            self.status.transition(self.session.fault(time.monotonic(), self.problems["bag"]), self.problems["bag"])
        transition = self.session.update(time.monotonic(), self._missing(), True)
        words = f"; {self.episodes.words(self._now())}" if self.episodes else ""
        self.status.transition(transition, self.session.reason + words)
        self.status.publish()

    def _now(self) -> int:
        return self.get_clock().now().nanoseconds

    def _check_episode(self) -> None:
        """End an episode whose bag cannot be written any more."""
        if self.episodes and self.episodes.trouble:
            trouble, about = self.episodes.trouble, self.episodes.end(FAILURE, self._now())
            text = f"episode {about.episode} ended as a failure: {trouble}; {about.messages} messages are readable"
            self.problem("episode", text, is_error=True)

    # -- demonstrations ------------------------------------------------------------------------------------------------

    def _episode_topics(self) -> dict[str, EpisodeTopic]:
        """Return the recorded topics, with the latched ones that each new bag starts with."""
        kept = {self.topics.tf_static: MOST_KEPT, self.topics.configuration: MOST_KEPT}
        return {
            topic: EpisodeTopic(kind, offered, kept.get(topic, 1) if offered in (LATCHED, CONFIGURATION) else 0)
            for topic, (kind, _, offered) in self._sources().items()
        }

    def _on_episode(self, request: Episode.Request, response: Episode.Response) -> Episode.Response:
        """Serve uma/episode. A refusal changes nothing."""
        episodes = self.episodes
        try:
            if request.command == "start":
                self._check_ready()
                self.problem("episode", "")
            response.message = episodes.command(request.command, request.text, self._now)
            response.success = True
            self.get_logger().info(response.message)
        except (InputError, OSError) as error:
            response.success, response.message = False, str(error)
            self.status.refuse("uma/episode", str(error))
        counts = episodes.counts
        response.episode, response.is_recording = episodes.last, episodes.running is not None
        response.num_success, response.num_failure = counts[SUCCESS], counts[FAILURE]
        response.num_unmarked, response.num_discarded = counts[UNMARKED], counts[DISCARDED]
        self._tick()
        return response

    def _check_ready(self) -> None:
        """Raises `InputError` while an input that every demonstration needs is missing."""
        if not self.is_active:
            raise InputError(f"start: {INACTIVE}")
        if missing := self._missing():
            raise InputError(f"start: {'; '.join(missing)}")

    def _missing(self) -> list[str]:
        return [f"{topic}: nothing received yet" for topic in sorted(self._needed - set(self._skipped))]

    def waits(self) -> tuple[list[str], str]:
        return self._missing(), ""

    def _sources(self) -> dict[str, tuple[type, QoSProfile, QoSProfile]]:
        """Return full topic name -> message type, QoS of the subscription, and offered QoS of a player.

        /clock is not recorded. It stamps the messages, and `ros2 bag play --clock` publishes a new one.
        """
        t = self.topics
        streams = {
            t.rgb: Image,
            t.depth: Image,
            t.camera_info: CameraInfo,
            t.depth_info: CameraInfo,
            t.robot_pose: PoseStamped,
            t.joint_states: JointState,
            t.target_pose: PoseStamped,
            t.sim_object: PointCloud2,
            t.tf: TFMessage,
        }
        reliable = {
            t.reference_motion: ReferenceMotion,
            t.action_chunk: ActionChunk,
            t.action_chunk_base: ActionChunk,
            t.predicted_motion: MotionPrediction,
            t.keypoints: Keypoints,
            t.status: PolicyStatus,
            t.markers: MarkerArray,
            t.instruction: String,
            t.goal_image: Image,
            t.goal_depth: Image,
            self.resolve_topic_name("/diagnostics"): DiagnosticArray,
        }
        latched = {
            t.active_reference: ReferenceMotion,
            t.sim_reference: ReferenceMotion,
            t.sim_outcome: String,
            t.tf_static: TFMessage,
            t.robot_description: String,
        }
        states = {t.robot_pose, t.joint_states}
        sources = {
            topic: (kind, *((STREAM, STREAM) if topic in states else (QUEUE, QUEUE))) for topic, kind in streams.items()
        }
        sources |= {
            topic: (kind, QUEUE, COMMAND if kind is ActionChunk else STATUS) for topic, kind in reliable.items()
        }
        sources |= {topic: (kind, qos_profile(16, True, latched=True), LATCHED) for topic, kind in latched.items()}
        return sources | {t.configuration: (String, CONFIGURATION, CONFIGURATION)}

    def _record(self, topic: str, kind: type, subscribed: QoSProfile, offered: QoSProfile) -> None:
        if self.bag:
            self.bag.add_topic(topic, kind, offered)
        every = self.settings.image_every if topic in (self.topics.rgb, self.topics.depth) else 1

        def write(data: bytes) -> None:
            if not self.is_active:
                return
            self._skipped[topic] = seen = self._skipped.get(topic, -1) + 1
            if seen % every == 0:
                self._write(topic, data)

        def subscribe_best_effort(_) -> None:
            """Add a best-effort subscription: a reliable one does not match a best-effort publisher."""
            if topic not in self._lossy:
                self._lossy.add(topic)
                self.create_subscription(kind, topic, write, STREAM, raw=True)

        events = SubscriptionEventCallbacks(incompatible_qos=subscribe_best_effort)
        self.create_subscription(kind, topic, write, subscribed, raw=True, event_callbacks=events)

    def _write(self, topic: str, data: bytes) -> None:
        """Write a message with the time of the ROS clock.

        Messages before the start of a simulated clock wait for it, so that the order stays.
        """
        now = self.get_clock().now().nanoseconds
        self._early.append((topic, data))
        if now > 0:
            for early_topic, early in self._early:
                if self.bag:
                    self.bag.write(early_topic, now, early)
                if self.episodes:
                    self.episodes.take(early_topic, now, early)
            self._early.clear()
        elif sum(len(early) for _, early in self._early) > MAX_EARLY:
            del self._early[0]

    def diagnose(self) -> dict:
        found: dict = {"state": self.session.state.name}
        if self.bag:
            found |= {"messages": self.bag.num_messages, "bag": self.settings.path}
        if self.episodes:
            found |= {"demonstrations": self.settings.demonstrations, "episode": self.episodes.last}
            found |= self.episodes.counts
        return found

    def close(self) -> None:
        if self.bag:
            self.bag.close()
        if self.episodes:
            self.episodes.close(self._now())


def main() -> int:
    return run_node(RecorderNode)


if __name__ == "__main__":
    leave(main())
