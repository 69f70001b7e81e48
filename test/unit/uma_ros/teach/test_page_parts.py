"""Parts of the page without a server: permits, the page's thread, words of a preview, poses of links."""

import threading

import numpy as np
import pytest
from teaching import BOX, eventually

from uma.geometry import fr3
from uma.robot import DROID
from uma.types import ReferenceMotion
from uma_ros.deployment.graph import GRAPHS, Options
from uma_ros.messages.description.robot import fr3_2f85
from uma_ros.teach.jobs import Jobs
from uma_ros.teach.kinematics import link_poses, positions_of
from uma_ros.teach.link import Outlook
from uma_ros.teach.panels.run import told
from uma_ros.teach.permits import permitted
from uma_ros.teach.task import Ask


@pytest.mark.parametrize(
    "kind, uuid, is_operator, expected",
    [
        ("GuiUpdateMessage", "start", True, True),
        ("GuiUpdateMessage", "start", False, False),
        ("GuiUpdateMessage", "stop", False, True),
        ("TransformControlsUpdateMessage", "", False, False),
        ("ScenePointerMessage", "", False, False),
        ("CommandTriggerMessage", "stop", False, False),
        ("ViewerCameraMessage", "", False, True),
        ("ShareUrlRequest", "", True, False),
        ("ShareUrlRequest", "stop", False, False),
        ("AMessageOfALaterVersion", "", False, False),
    ],
)
def test_permits(kind, uuid, is_operator, expected):
    assert permitted(kind, uuid, is_operator, {"stop"}.__contains__) is expected


def test_jobs_run_in_order_and_survive_an_exception():
    ticks, failed, done = [], [], []
    jobs = Jobs(lambda: ticks.append(1), 0.01, failed.append)
    jobs.start()
    jobs.submit(lambda: 1 / 0)
    for i in range(20):
        jobs.submit(lambda i=i: done.append(i))
    assert eventually(lambda: len(done) == 20 and len(ticks) > 2)
    assert done == list(range(20)) and isinstance(failed[0], ZeroDivisionError)
    jobs.close()


def test_a_full_queue_refuses_and_close_ends_it():
    gate = threading.Event()
    jobs = Jobs(lambda: None, 0.01, print)
    jobs.start()
    jobs.submit(gate.wait)
    assert eventually(lambda: not jobs.submit(lambda: None), 5.0)
    gate.set()
    jobs.close()


def test_preview_words_have_centimetres_and_tell_the_second():
    way = np.linspace(BOX + [0, 0, 0.30], BOX + [0, 0, 0.10], 16)
    motion = np.repeat(BOX[None, None], 16, 0) + np.linspace(0, 0.01, 16)[:, None, None] * [1, 0, 0]
    ask = Ask(reference=ReferenceMotion(np.array([[BOX, BOX + [0, 0, 0.2]]])))
    text = told(Outlook(way, motion, 16 / 15), BOX, ask)
    assert "Preview of 1.1 s: the gripper moves 20 cm and ends 10 cm from the object" in text
    assert "predicted to move 1.0 of 20 cm" in text and "One chunk is about a second" in text
    assert "object" not in told(Outlook(way, None, 16 / 15), BOX, Ask(instruction="lift")).split(". One")[0]


@pytest.mark.parametrize("gripper", [0.0, 1.0])
def test_links_stand_where_the_kinematics_puts_them(gripper):
    q = fr3.REST + np.linspace(-0.2, 0.3, 7)
    poses = link_poses(fr3_2f85(DROID), positions_of(q, gripper, DROID))
    assert np.allclose(poses[DROID.flange_frame], fr3.forward(q), atol=1e-9)
    tips = [poses[f"robotiq_85_{side}_finger_tip_link"][:3, 3] for side in ("left", "right")]
    assert (np.linalg.norm(tips[0] - tips[1]) < 0.06) == (gripper == 1.0)


@pytest.mark.parametrize("name", ["insertion", "sweeping", "folding"])
def test_the_page_in_a_graph_makes_silence_hold(name):
    with_page = {spec.name: spec for spec in GRAPHS[name](Options(teach=True, run_dir="x"))}
    assert with_page["controller"].parameters["heartbeat_s"] == 1.0 and "teach" in with_page
    assert with_page["controller"].parameters["autostart"] is False
    without = {spec.name: spec for spec in GRAPHS[name](Options(run_dir="x"))}
    assert "teach" not in without and "heartbeat_s" not in without["controller"].parameters
