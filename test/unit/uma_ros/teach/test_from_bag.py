"""The last task of a recording as the motion of the page."""

import numpy as np
import pytest
from rclpy.serialization import serialize_message
from tables import CAMERA
from teaching import FakeLink, eventually, free_port
from uma_ros.msg import ReferenceMotion as ReferenceMsg

from uma.robot import DROID
from uma.types import InputError, ReferenceMotion
from uma_ros.bags.writer import BagWriter
from uma_ros.messages.convert import reference_to, stamp_from
from uma_ros.runtime.topics import STATUS, Topics
from uma_ros.teach.page import Page, PageSettings


@pytest.fixture
def page():
    said: list[str] = []
    page = Page(FakeLink(), PageSettings(port=free_port(), token="a_token_for_tests"), DROID, lambda text: None)
    page.tell = lambda text, color="blue": said.append(text)
    page.said = said
    page.operators.join(1, "page")
    yield page
    page.close()


def test_the_last_task_of_a_bag_is_loaded(page, tmp_path):
    topic = Topics().in_namespace().active_reference
    bag = BagWriter(tmp_path / "bag")
    bag.add_topic(topic, ReferenceMsg, STATUS)
    for x in (0.1, 0.2):
        motion = ReferenceMotion(np.array([[[x, 0.0, 0.8], [x, 0.1, 0.7]]]), frame=CAMERA.frame, object_label="cup")
        bag.write(topic, 10**18, serialize_message(reference_to(motion, stamp_from(1.0))))
    bag.close()
    page.object._bag.value = str(tmp_path / "bag")
    page.object.from_bag()
    assert eventually(lambda: page.lesson.editor.sketch is not None)
    reference = page.lesson.editor.reference()
    assert np.allclose(reference.waypoints[0], [[0.2, 0.0, 0.8], [0.2, 0.1, 0.7]], atol=1e-4)
    assert reference.object_label == "cup"


def test_no_bag_is_told_and_changes_nothing(page, tmp_path):
    with pytest.raises(InputError, match="bag: empty"):
        page.object.from_bag()
    page.object._bag.value = str(tmp_path / "nothing")
    page.object.from_bag()
    assert eventually(lambda: bool(page.said))
    assert "nothing: no such file or folder" in page.said[0] and page.lesson.editor.sketch is None
