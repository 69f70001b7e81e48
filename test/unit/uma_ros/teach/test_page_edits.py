"""What a person does on the page, by the messages of a browser: second answers, and the choice of a waypoint."""

import asyncio
import threading

import numpy as np
import pytest
from tables import BLUE, CAMERA, T_BASE_CAM, box, draw

pytest.importorskip("viser", reason="the extra 'teach' is not installed")
from served_page import Client, Served, settled, until

from uma_ros.teach.scene import View
from uma_ros.teach.script import SCRIPT

RED_TOP, BLUE_TOP = np.array([0.42, 0.0, 0.05]), np.array([0.58, 0.0, 0.05])


@pytest.fixture(scope="module")
def served():
    served = Served()
    rgb, depth, _ = draw([box(0.42, 0.0), box(0.58, 0.0, colour=BLUE)])
    served.link.seen = View(rgb, depth, CAMERA, T_BASE_CAM, None, 0.0, 7.0)
    yield served
    served.page.close()


@pytest.fixture
def fresh(served):
    served.refresh()
    return served


def scene_points(fresh, name: str) -> int:
    """Number of points of a cloud in the scene; 0 without it."""
    handle = fresh.page.server.scene._handle_from_node_name.get(name)
    return 0 if handle is None else len(handle.points)


async def operator_of(fresh) -> None:
    assert await until(lambda: fresh.page.operators.count == 1)
    assert await until(lambda: fresh.page.view is not None and fresh.page.view.stamp == 7.0)


def test_a_second_answer_is_shown_and_counts_when_kept(fresh):
    async def run() -> None:
        panel, lesson = fresh.page.object, fresh.lesson
        async with Client(fresh, "one") as one:
            await operator_of(fresh)
            await one.click(RED_TOP)
            assert await until(lambda: lesson.clicks is not None) and await settled(fresh)
            assert panel._picture.visible and not panel._keep.visible and scene_points(fresh, "/waiting") == 0
            first, before = panel._picture.image.copy(), lesson.editor.sketch
            await one.click(BLUE_TOP, "shift")
            assert await until(lambda: lesson.waiting is not None) and await settled(fresh)
            assert panel._keep.visible and panel._drop.visible and scene_points(fresh, "/waiting") > 50
            assert (panel._picture.image != first).any() and lesson.editor.sketch is before
            await one.press("Preview (P)")
            assert await until(lambda: fresh.link.calls == ["preview"])
            await one.press("Start")
            assert await settled(fresh)
            assert fresh.link.calls == ["preview"], "Start waits for the decision"
            await one.press("Keep this answer (K)")
            assert await until(lambda: lesson.waiting is None) and await settled(fresh)
            assert np.ptp(lesson.editor.sketch.waypoints[0, :, 0]) > 0.12, "both boxes"
            assert not panel._keep.visible and scene_points(fresh, "/waiting") == 0
            await one.press("History", "undo")
            assert await until(lambda: lesson.editor.sketch is before)

    asyncio.run(run())


def test_a_dropped_answer_leaves_the_previewed_task(fresh):
    async def run() -> None:
        lesson = fresh.lesson
        async with Client(fresh, "one") as one:
            await operator_of(fresh)
            await one.click(RED_TOP)
            assert await until(lambda: lesson.clicks is not None)
            lesson.move((0, 0, 0.1))
            await one.press("Preview (P)")
            await one.click(BLUE_TOP)
            assert await until(lambda: lesson.waiting is not None)
            await one.press("Drop this answer (X)")
            assert await until(lambda: lesson.waiting is None) and await settled(fresh)
            await one.press("Start")
            assert await until(lambda: fresh.link.calls == ["preview", "start"])

    asyncio.run(run())


def test_the_gizmo_follows_the_waypoint_of_a_button(fresh):
    async def run() -> None:
        page, lesson = fresh.page, fresh.lesson
        async with Client(fresh, "one") as one:
            await operator_of(fresh)
            await one.click(RED_TOP)
            assert await until(lambda: lesson.clicks is not None)
            for _ in range(2):
                lesson.move((0, 0, 0.1))
                await one.press("Add waypoint (N)")
            assert await until(lambda: lesson.current == 3) and await settled(fresh)
            assert tuple(page.waypoints._index.options) == ("1", "2", "3")
            await one.press("Edit", "1")
            assert await until(lambda: lesson.current == 1) and await settled(fresh)
            assert np.allclose(page.gizmo._arrows.position, lesson.centroid_at(1), atol=1e-6)
            await one.press("Edit", "9")  # a page may be behind
            assert await settled(fresh) and lesson.current == 1
            async with Client(fresh, "two") as two:  # without control
                assert await until(lambda: page.operators.count == 2)
                await two.press("Edit", "3")
                assert await settled(fresh) and lesson.current == 1

    asyncio.run(run())


def test_every_row_but_the_start_names_the_button_it_presses(fresh):
    async def run() -> None:
        async with Client(fresh, "one") as one:
            await operator_of(fresh)
            await one.click(RED_TOP)
            await one.press("Add waypoint (N)")
            assert await until(lambda: fresh.lesson.last == 2) and await settled(fresh)
            rows = fresh.page.waypoints._table.content.split("<tbody>")[1].split("<tr")[1:]
            assert ["data-press" in row for row in rows] == [False, True, True]
            assert 'data-press="2"' in rows[2] and "tr[data-press]" in SCRIPT

    asyncio.run(run())


def test_a_stop_prevents_motion_that_waits_in_the_queue(fresh):
    async def run() -> None:
        page, busy = fresh.page, threading.Event()
        async with Client(fresh, "one"):
            await operator_of(fresh)
            client = page.operators.operator
            page.jobs.submit(lambda: busy.wait(20.0) and None)
            page.move(client, lambda: page.link.call("home", lambda *_: None))
            page.stop()
            busy.set()
            assert await settled(fresh)
            assert fresh.link.calls == ["stop"]
            page.move(client, lambda: page.link.call("home", lambda *_: None))
            assert await settled(fresh) and fresh.link.calls == ["stop", "home"]

    asyncio.run(run())


def test_the_first_operator_sees_the_scene_at_once():
    """At one cloud in 20 s, clicks of the first 20 s would have met 'no image yet'."""

    async def run() -> None:
        served = Served(rate=0.05)
        view, served.link.seen = served.link.seen, None
        try:
            async with Client(served, "one"):
                assert await until(lambda: served.page.trouble == "camera: nothing")
                served.link.seen = view
                assert await until(lambda: served.page.view is view, seconds=8.0)
        finally:
            served.page.close()

    asyncio.run(run())
