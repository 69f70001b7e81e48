"""A policy that subscribes to compressed images alone, on the live simulated graph, with the fake policy."""

import pytest
from harness import TOPICS, Graph
from sensor_msgs.msg import CompressedImage
from uma_ros.msg import PolicyStatus

from uma_ros.runtime.topics import SENSOR_IN


@pytest.fixture(scope="module")
def graph(tmp_path_factory):
    g = Graph(tmp_path_factory.mktemp("compressed"), changes={"policy": {"image_transport": "compressed"}})
    yield g
    assert set(g.close().values()) == {0}


def test_chunks_come_from_compressed_images(graph):
    c = graph.client
    c.wait(lambda: c.state("policy") == PolicyStatus.READY and c.scene, 90.0, "READY")
    subscribed = {topic for topic, _ in c.node.get_subscriber_names_and_types_by_node("policy", "/")}
    assert {f"{TOPICS.rgb}/compressed", f"{TOPICS.depth}/compressedDepth"} <= subscribed
    assert not {TOPICS.rgb, TOPICS.depth} & subscribed
    c.send(c.scene)
    c.wait(lambda: len(c.chunks) > 3, 60.0, "chunks")
    assert graph.alive() >= {"camera", "policy", "controller"}


def test_an_image_that_is_none_is_refused_and_the_task_goes_on(graph):
    c, name = graph.client, f"{TOPICS.rgb}/compressed"
    c.wait(lambda: c.state("policy") is not None and c.scene, 90.0, "the policy's status")
    before, count = c.status["policy"].num_refused, len(c.chunks)
    out = c.node.create_publisher(CompressedImage, name, SENSOR_IN)

    def is_refused() -> bool:
        """A best-effort message may be lost: send one at each look."""
        out.publish(CompressedImage(format="jpeg", data=b"no image"))
        return c.status["policy"].num_refused > before

    c.wait(is_refused, 60.0, "the refusal")
    assert c.status["policy"].refused.startswith(f"{name} refused: rgb.data: no readable JPEG or PNG image")
    c.send(c.scene)
    c.wait(lambda: len(c.chunks) > count + 3, 60.0, "more chunks")
