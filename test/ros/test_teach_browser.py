"""The teaching page in a real Chromium over the live simulated graph: click, drag, preview, start, stop.

A person opens the page, clicks the object, drags it along two waypoints, looks at the preview and starts. The robot
moves, and space stops it. The same is done with a finger.
"""

import sys
import time
from contextlib import nullcontext, suppress
from dataclasses import replace
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[1])]
import conftest  # noqa: E402, F401  (a ROS domain of its own on this host)
import numpy as np  # noqa: E402
import pytest  # noqa: E402

pytest.importorskip("viser", reason="the extra 'teach' is not installed")
pytest.importorskip("playwright", reason="the extra 'test' is not installed")
from browser import Browser, chrome, chromium, opened  # noqa: E402
from harness import TOPICS, Graph, still  # noqa: E402
from teaching import free_port  # noqa: E402
from tf2_msgs.msg import TFMessage  # noqa: E402
from uma_ros.msg import PolicyStatus  # noqa: E402

from uma_ros.deployment.graph import insertion  # noqa: E402
from uma_ros.messages.convert import reference_from  # noqa: E402
from uma_ros.messages.static_frames import StaticFrames  # noqa: E402
from uma_ros.runtime.topics import STATIC_TF_IN  # noqa: E402

BASE = "fr3_link0"
TOKEN = "a-token-for-tests"


@pytest.fixture(scope="module")
def web():
    """One Chromium for all tests: its start costs seconds on a slow machine."""
    found = chromium()
    if not found:
        pytest.skip("no Chromium: apt-get install chromium fonts-dejavu-core")
    with chrome(found) as browser:
        yield browser


@pytest.fixture(scope="module")
def graph(web, tmp_path_factory):
    port = free_port()
    changes = {
        "teach": {"port": port, "token": TOKEN, "cloud_rate": 0.5, "voxel": 0.01, "max_points": 5000},
        "controller": {"heartbeat_s": 3.0},  # Chromium draws without a GPU, and its page pauses for over a second
    }
    graph = Graph(
        tmp_path_factory.mktemp("teach"), changes=changes, graph=lambda options: insertion(replace(options, teach=True))
    )
    graph.url = f"http://127.0.0.1:{port}/?token={TOKEN}"
    try:
        graph.frames = StaticFrames()
        c = graph.client
        c.node.create_subscription(TFMessage, TOPICS.tf_static, graph.frames.add_message, STATIC_TF_IN)
        c.wait(lambda: c.state("policy") == PolicyStatus.READY, 120.0, "READY")
        c.wait(lambda: c.scene and c.poses and graph.frames.connects(BASE, c.scene.header.frame_id), 60.0, "the scene")
        yield graph
    finally:
        graph.close()


def spinning(graph, browser: Browser, condition, what: str, seconds: float = 90.0) -> None:
    """Wait for a condition on the graph. The client's messages arrive while it spins."""

    def seen() -> bool:
        graph.client.spin(0.1)
        return bool(condition())

    browser.wait(seen, what, seconds)


def heights(browser: Browser) -> list[float]:
    """The heights of the waypoints in the page's table, metres."""
    code = "() => [...document.querySelectorAll('tbody tr')].map(r => r.children[2].innerText)"
    return [float(text.split()[2]) for text in browser.page.evaluate(code)]


def edited(browser: Browser) -> str:
    """The name of the waypoint that the gizmo is on."""
    code = "() => [...document.querySelectorAll('tbody tr')].find(r => r.innerText.includes('▶')).children[1].innerText"
    return str(browser.page.evaluate(code)).strip()


def lift(browser: Browser, up: float) -> None:
    """Drag the first waypoint up, metres, as often as a person would: a slow page may miss the arrow."""
    for attempt in range(3):
        browser.drag(2, up)
        with suppress(AssertionError) if attempt < 2 else nullcontext():
            browser.wait(lambda: heights(browser)[1] - heights(browser)[0] > 0.08, "the lifted waypoint", 20.0)
            return


def press_start(graph, browser: Browser) -> None:
    """Press Start until chunks come, as often as a person would: on a busy machine an image may be late just then."""
    c = graph.client
    chunks = len(c.base_chunks)
    for attempt in range(3):
        browser.says("Start is free")
        browser.press("Start")
        with suppress(AssertionError) if attempt < 2 else nullcontext():
            spinning(graph, browser, lambda: len(c.base_chunks) > chunks, "chunks", 30.0)
            return
        if "not previewed" in browser.text():
            browser.press("Preview (P)")


def start(graph, browser: Browser, up: float) -> None:
    """From the open page to a moving robot. The hand goes ``up`` metres above the object, so tests take turns."""
    c = graph.client
    reference = reference_from(c.scene)
    reference = reference.transformed(graph.frames.lookup(BASE, reference.frame), BASE)
    browser.says("has control; 1 connected", 90.0)
    browser.wait(lambda: "nobody" not in browser.text(), "control")
    browser.wait(lambda: browser.page.evaluate("window.__viserPointer.hasSceneClickFilter()"), "clicks")
    browser.press("clear")  # what an earlier page left
    browser.says("none yet")
    # On the utensil's surface; the pinned keypoints lie on the holder.
    points = np.array([w[0] for w in reference.waypoints if len(w) > 1])
    browser.click(points[np.linalg.norm(points - np.median(points, 0), axis=1).argmin()])
    browser.says("6 keypoints")
    lift(browser, up)
    browser.press("Add waypoint (N)")
    browser.wait(lambda: len(heights(browser)) == 3, "a second waypoint")
    for index in (1, 2):
        browser.page.evaluate(f"() => document.querySelector('tr[data-press=\"{index}\"] td').click()")
        browser.wait(lambda index=index: edited(browser) == str(index), f"waypoint {index} after a click on its row")
    browser.press("Preview (P)")
    browser.says("Preview of 1.1 s")
    browser.says("Start is free")
    spinning(graph, browser, lambda: c.state("policy") == PolicyStatus.READY, "READY")
    before = c.ee()[:3, 3]
    press_start(graph, browser)
    spinning(graph, browser, lambda: np.linalg.norm(c.ee()[:3, 3] - before) > 0.03, "motion of the robot")


def teach(graph, browser: Browser) -> None:
    """From the open page to a moving robot and back to rest."""
    start(graph, browser, 0.28 if browser.has_touch else 0.15)
    c = graph.client
    if browser.has_touch:
        browser.press("STOP")
    else:
        browser.page.keyboard.press("Space")
    spinning(graph, browser, lambda: c.state("controller") == PolicyStatus.IDLE, "the stop")
    assert "stopped by /uma/stop" in c.status["controller"].reason
    assert still(graph) < 0.003
    browser.says("stopped by /uma/stop")


@pytest.mark.parametrize("has_touch", [False, True], ids=["mouse", "touch"])
def test_a_person_teaches_and_stops(graph, web, has_touch, tmp_path):
    began = time.monotonic()
    with opened(web, graph.url, has_touch) as browser:
        try:
            teach(graph, browser)
        except BaseException:
            browser.picture(tmp_path / "failed.png")
            print(f"picture: {tmp_path / 'failed.png'}; log: {graph.log('teach')[-2000:]}")
            raise
    print(f"{time.monotonic() - began:.0f} s with the page")


def test_a_page_closed_in_motion_holds_the_arm(graph, web):
    """The page is gone, so that the controller misses its sign of life."""
    c = graph.client
    with opened(web, graph.url) as browser:
        start(graph, browser, 0.15)
    c.wait(lambda: "operator" in c.status["controller"].reason, 30.0, "words about the operator")
    assert c.state("controller") in (PolicyStatus.IDLE, PolicyStatus.HOLD)
    assert still(graph) < 0.003
