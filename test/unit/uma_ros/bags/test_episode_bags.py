"""Episodes of the recorder: numbers, outcomes, discarding by moving, latched messages, death."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image as Picture
from rclpy.serialization import serialize_message
from sensor_msgs.msg import Image
from std_msgs.msg import String

from uma.types import InputError
from uma_ros.bags.episode_folder import EpisodeFolder, read_about
from uma_ros.bags.episodes import Episodes, EpisodeTopic
from uma_ros.bags.reader import bag_topics, read_bag
from uma_ros.bags.recover import recover
from uma_ros.messages.convert import image_to, stamp_from
from uma_ros.runtime.topics import LATCHED, STATUS

SECOND = 1_000_000_000
TOPICS = {
    "/rgb": EpisodeTopic(Image, STATUS),
    "/stream": EpisodeTopic(String, STATUS),
    "/task": EpisodeTopic(String, LATCHED, 1),
    "/frames": EpisodeTopic(String, LATCHED, 3),
}


def text(words: str) -> bytes:
    return serialize_message(String(data=words))


def picture(grey: int) -> bytes:
    rgb = np.full((90, 320, 3), grey, np.uint8)
    return serialize_message(image_to(rgb, "rgb8", "cam", stamp_from(1.0)))


def told(path, topic: str) -> list[str]:
    return [m.data for _, _, m in read_bag(path, {topic: String})]


@pytest.fixture
def episodes(tmp_path) -> Episodes:
    return Episodes(tmp_path / "demos", TOPICS, "/rgb")


def test_an_episode_is_a_bag_with_outcome_and_pictures(episodes, tmp_path):
    assert episodes.start(5 * SECOND, " fold it ") == 1 and episodes.running.text == "fold it"
    for grey in (10, 100, 200):
        episodes.take("/rgb", 6 * SECOND, picture(grey))
    about = episodes.end("success", 8 * SECOND)
    folder = tmp_path / "demos" / "episode_0001"
    assert read_about(folder) == about and about.messages == 3 and about.end_ns - about.begin_ns == 3 * SECOND
    assert bag_topics(folder)["/rgb"][1] == 3
    first, last = (Picture.open(folder / f"{name}.png") for name in ("first", "last"))
    assert first.size == (160, 45) and first.getpixel((5, 5))[0] == 10 and last.getpixel((5, 5))[0] == 200
    assert episodes.counts == {"success": 1, "failure": 0, "unmarked": 0, "discarded": 0}
    assert "last number 1; 1 success, 0 failure" in episodes.words(9 * SECOND)


def test_a_bag_starts_with_what_the_latched_topics_said(episodes, tmp_path):
    for i in range(5):
        for topic in ("/stream", "/task", "/frames"):
            episodes.take(topic, i, text(f"{i}"))
    episodes.take("/frames", 6, text("3"))  # again: the newest
    episodes.start(SECOND)
    episodes.take("/stream", 2 * SECOND, text("now"))
    episodes.end("failure", 3 * SECOND)
    episodes.take("/stream", 4 * SECOND, text("after"))
    bag = tmp_path / "demos" / "episode_0001"
    assert told(bag, "/stream") == ["now"] and told(bag, "/task") == ["4"] and told(bag, "/frames") == ["2", "4", "3"]


def test_discarding_moves_and_numbers_are_never_used_again(episodes, tmp_path):
    for outcome in ("success", "failure"):
        episodes.start(SECOND)
        episodes.end(outcome, 2 * SECOND)
    number, about = episodes.discard_last(3 * SECOND)
    assert (number, about.outcome) == (2, "failure")
    assert episodes.start(4 * SECOND) == 3
    assert episodes.discard_last(5 * SECOND)[0] == 3 and episodes.running is None, "the running one is the last"
    discarded = tmp_path / "demos" / "discarded"
    assert sorted(p.name for p in discarded.iterdir()) == ["episode_0002", "episode_0003"]
    assert bag_topics(discarded / "episode_0003") is not None
    assert episodes.counts["discarded"] == 2 and episodes.counts["success"] == 1
    assert Episodes(tmp_path / "demos", TOPICS, "/rgb").start(6 * SECOND) == 4


def test_commands_that_do_not_fit_change_nothing(episodes):
    def refused(word, *words):
        with pytest.raises(InputError, match=word):
            episodes.command(*words, lambda: SECOND)

    refused("no episode runs", "success", "")
    refused("must have at least one", "discard_last", "")
    refused("must be one of", "explode", "")
    refused("201 characters", "start", "a" * 201)
    assert episodes.command("start", "", lambda: SECOND) == "episode 1 runs"
    refused("episode 1 runs", "start", "")
    assert episodes.running.episode == 1 and "runs for 2 s" in episodes.command("status", "", lambda: 3 * SECOND)


def test_after_a_death_the_episode_counts_as_unmarked(episodes, tmp_path):
    episodes.start(SECOND, "words")
    rng = np.random.default_rng(0)
    for i in range(40):
        noise = rng.integers(0, 255, (180, 320, 3), dtype=np.uint8)
        data = serialize_message(image_to(noise, "rgb8", "cam", stamp_from(float(i))))
        episodes.take("/rgb", (1 + i) * SECOND, data)
    shutil.copytree(tmp_path / "demos", tmp_path / "killed")  # as the disk was at the recorder's death
    again = EpisodeFolder(tmp_path / "killed")
    assert again.counts()["unmarked"] == 1 and again.new()[0] == 2
    assert read_about(tmp_path / "killed/episode_0001").text == "words"
    count, *_ = recover(tmp_path / "killed/episode_0001", tmp_path / "killed/episode_0001-recovered")
    assert 30 <= count <= 40
    assert again.counts()["unmarked"] == 1, "the recovered bag is not an episode of its own"
    episodes.close(60 * SECOND)
    assert read_about(tmp_path / "demos/episode_0001").outcome == "unmarked"


@pytest.mark.parametrize("words", ['{"episode": 1}', "[1, 2", '{"episode": "x"}'])
def test_a_damaged_account_is_refused_by_its_file(tmp_path, words):
    (tmp_path / "episode.json").write_text(words)
    with pytest.raises(InputError, match="episode.json"):
        read_about(tmp_path)


def test_an_unknown_outcome_is_refused(episodes, tmp_path):
    episodes.start(SECOND)
    episodes.end("success", SECOND)
    path = tmp_path / "demos/episode_0001/episode.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "outcome": "great"}))
    with pytest.raises(InputError, match="'great', must be one of success"):
        read_about(path.parent)
