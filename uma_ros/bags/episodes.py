"""Recording of demonstrations: one bag an episode, begun and ended while the messages keep coming."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from rclpy.qos import QoSProfile
from sensor_msgs.msg import Image

from uma.types import InputError
from uma_ros.bags.episode_folder import (
    DISCARDED,
    FAILURE,
    OUTCOMES,
    SUCCESS,
    UNMARKED,
    About,
    EpisodeFolder,
    write_about,
)
from uma_ros.bags.reader import decode, type_name, typestore
from uma_ros.bags.writer import BagWriter
from uma_ros.messages.convert import rgb_from

MOST_KEPT = 64
"""Largest number of different messages of a latched topic with several publishers."""
THUMBNAIL = 160
"""Width of first.png and last.png, pixels."""
MAX_TEXT = 200
"""Longest instruction, characters."""


@dataclass(frozen=True)
class EpisodeTopic:
    """A recorded topic.

    Attributes:
        kind, offered: message class, and QoS of a player.
        kept: number of its last different messages that a new bag starts with; 0 for a topic that is not latched.
    """

    kind: type
    offered: QoSProfile
    kept: int = 0


class Episodes:
    """Writes the episodes of a folder.

    Args:
        path: folder of the demonstrations.
        topics: name -> topic.
        image: topic of the colour image, for the thumbnails.

    Attributes:
        running: the running episode; None between two.
        last: number of the running episode or of the last one; 0 = none yet.
    """

    def __init__(self, path: str | Path, topics: dict[str, EpisodeTopic], image: str) -> None:
        self._folder, self._topics, self._image = EpisodeFolder(path), topics, image
        self._kept: dict[str, dict[bytes, None]] = {name: {} for name, topic in topics.items() if topic.kept}
        self._picture = b""
        self._bag: BagWriter | None = None
        self._at = Path()
        self._counts = self._folder.counts()
        self.running: About | None = None
        self.last = self._folder.new()[0] - 1
        self._prepare()

    def _prepare(self) -> None:
        """Load what the first episode would otherwise wait for, seconds on a slow computer."""
        import PIL.Image  # noqa: F401

        for topic in self._topics.values():
            typestore().hash_rihs01(type_name(topic.kind))

    @property
    def trouble(self) -> str:
        """Why the running episode's bag ended early; empty while it is written."""
        return self._bag.trouble if self._bag else ""

    @property
    def counts(self) -> dict[str, int]:
        """Number of episodes by outcome, and of the discarded ones."""
        return self._counts

    def take(self, topic: str, time_ns: int, data: bytes) -> None:
        """Take a received message: keep it if its topic is latched, write it if an episode runs."""
        if topic in self._kept:
            kept = self._kept[topic]
            kept.pop(data, None)
            kept[data] = None
            while len(kept) > self._topics[topic].kept:
                del kept[next(iter(kept))]
        if topic == self._image:
            is_first = not self._picture
            self._picture = data
            if self.running and is_first:
                self._draw("first.png")
        if self._bag is not None:
            self._bag.write(topic, time_ns, data)

    def start(self, time_ns: int, text: str = "") -> int:
        """Begin an episode, with what the latched topics have said, and return its number.

        Raises:
            InputError: an episode runs, or the text is too long.
        """
        if self.running:
            raise InputError(f"start: episode {self.running.episode} runs, end it first (success, failure)")
        if len(text) > MAX_TEXT:
            raise InputError(f"text: {len(text)} characters, at most {MAX_TEXT}")
        number, path = self._folder.new()
        bag = BagWriter(path)
        for name, topic in self._topics.items():
            bag.add_topic(name, topic.kind, topic.offered)
        if bag.trouble:
            raise InputError(f"start: {path}: {bag.trouble}")
        self._bag, self._at, self._picture = bag, path, b""
        self.running, self.last = About(number, text=text.strip(), begin_ns=time_ns), number
        write_about(path, self.running)
        for name, kept in self._kept.items():
            for data in kept:
                bag.write(name, time_ns, data)
        return number

    def end(self, outcome: str, time_ns: int) -> About:
        """End the running episode.

        Raises:
            InputError: no episode runs.
        """
        if self.running is None or self._bag is None:
            raise InputError(f"{outcome}: no episode runs, start one first")
        self._bag.close()
        outcome = FAILURE if self._bag.trouble and outcome == SUCCESS else outcome
        ended = replace(self.running, outcome=outcome, end_ns=time_ns, messages=self._bag.num_messages)
        with suppress(OSError):  # on a full disk the bag itself stays
            write_about(self._at, ended)
            self._draw("last.png")
        self._bag, self.running = None, None
        self._counts = self._folder.counts()
        return ended

    def discard_last(self, time_ns: int) -> tuple[int, About]:
        """Move the running episode, or the last one, to the folder of the discarded ones; return its number."""
        if self.running:
            self.end(UNMARKED, time_ns)
        number, about = self._folder.discard_last()
        self._counts = self._folder.counts()
        return number, about

    def words(self, time_ns: int) -> str:
        """Return the running episode and the counts, for people."""
        counted = ", ".join(f"{self._counts[name]} {name}" for name in (*OUTCOMES, DISCARDED))
        if self.running is None:
            return f"no episode runs, last number {self.last}; {counted}"
        return f"episode {self.running.episode} runs for {(time_ns - self.running.begin_ns) * 1e-9:.0f} s; {counted}"

    def command(self, word: str, text: str, now: Callable[[], int]) -> str:
        """Carry out a command of uma/episode and return what was done.

        Raises:
            InputError: an unknown command, or one that does not fit the state.
        """
        if word == "start":
            return f"episode {self.start(now(), text)} runs"
        if word in (SUCCESS, FAILURE):
            about = self.end(word, now())
            seconds = (about.end_ns - about.begin_ns) * 1e-9
            return f"episode {about.episode}: {about.outcome}, {seconds:.1f} s, {about.messages} messages"
        if word == "discard_last":
            number, about = self.discard_last(now())
            return f"episode {number} ({about.outcome}) moved to {self._folder.path / DISCARDED}"
        if word == "status":
            return self.words(now())
        raise InputError(f"command: {word!r:.80}, must be one of start, success, failure, discard_last, status")

    def close(self, time_ns: int) -> None:
        """End a running episode without an outcome."""
        if self.running:
            self.end(UNMARKED, time_ns)

    def _draw(self, name: str) -> None:
        """Write the last image as a small PNG. An image that cannot be decoded gives none."""
        from PIL import Image as Pillow

        if not self._picture:
            return
        with suppress(InputError, OSError):
            rgb = rgb_from(decode(self._picture, Image, name))
            picture = Pillow.fromarray(rgb)
            picture.thumbnail((THUMBNAIL, THUMBNAIL))
            picture.save(self._at / name)
