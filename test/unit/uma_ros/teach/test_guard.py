"""Who may connect, by plain HTTP and WebSocket: foreign pages, rebound names, no token, and pages without control."""

import asyncio

import pytest
from teaching import BOX, FakeLink, get

pytest.importorskip("viser", reason="the extra 'teach' is not installed")
import msgspec
from served_page import TOKEN, Client, Served, settled, socket_to, until
from viser import _messages as messages
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from uma.robot import DROID
from uma.types import InputError
from uma_ros.teach.guard import Guard
from uma_ros.teach.page import Page, PageSettings
from uma_ros.teach.script import with_script


@pytest.fixture(scope="module")
def served():
    served = Served()
    yield served
    served.page.close()


@pytest.fixture
def fresh(served):
    served.refresh()
    return served


# -- HTTP --------------------------------------------------------------------------------------------------------------


def test_the_token_becomes_a_cookie_that_scripts_lack(served):
    assert "HttpOnly" in served.set_cookie and "SameSite=Strict" in served.set_cookie
    assert TOKEN not in served.set_cookie
    status, answer, body = get(served.port, "/", Cookie=served.cookie)
    assert status == 200 and body.index(b"/uma/stop") < body.index(b"</head>")
    assert answer["x-frame-options"] == "DENY" and "frame-ancestors 'none'" in answer["content-security-policy"]


@pytest.mark.parametrize(
    "path", ["/", "/?token=wrong", "/?token=", "/uma/stop", "/uma/alive", f"/uma/stop?token={TOKEN}"]
)
def test_nothing_opens_without_token_or_cookie(fresh, path):
    status, answer, body = get(fresh.port, path)
    assert status == 401 and b"uma teach" in body and answer["x-frame-options"] == "DENY"
    assert get(fresh.port, path, Cookie=f"uma_teach_{fresh.port}=guessed")[0] == 401
    assert not fresh.link.calls


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:{port}", "127.0.0.1", "127.0.0.1:1", "a@127.0.0.1:{port}", ""]
)
def test_a_rebound_host_is_refused_even_with_the_cookie(fresh, host):
    name = host.format(port=fresh.port)
    assert get(fresh.port, "/uma/stop", Host=name, Cookie=fresh.cookie)[0] == 403
    assert get(fresh.port, f"/?token={TOKEN}", Host=name)[0] == 403
    assert not fresh.link.calls


def test_localhost_is_a_name_of_this_host(served):
    assert get(served.port, f"/?token={TOKEN}", Host=f"localhost:{served.port}")[0] == 200


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "https://127.0.0.1:{port}", "http://127.0.0.1:1"])
def test_a_foreign_origin_is_refused_even_with_the_cookie(fresh, origin):
    name = origin.format(port=fresh.port)
    assert get(fresh.port, "/uma/stop", Origin=name, Cookie=fresh.cookie)[0] == 403
    assert not fresh.link.calls


def test_stop_is_a_plain_route_for_whoever_has_a_page(fresh):
    assert get(fresh.port, "/uma/stop", Cookie=fresh.cookie)[0] == 200
    assert fresh.link.calls == ["stop"]


def test_the_sign_of_life_of_an_unknown_page_counts_for_nothing(fresh):
    assert get(fresh.port, "/uma/alive?page=unknown", Cookie=fresh.cookie)[0] == 200
    assert not fresh.link.alive_at


def test_paths_lead_to_no_other_file(served):
    for path in ("/../guard.py", "/%2e%2e/%2e%2e/_viser.py", "/uma/", "/uma/stop/x"):
        assert get(served.port, path, Cookie=served.cookie)[0] == 404


# -- WebSocket ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changes, status",
    [
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": None}, 403),
        ({"Origin": "null"}, 403),
        ({"Cookie": None}, 401),
        ({"Cookie": "uma_teach=x"}, 401),
        ({"Host": "evil.example"}, 403),
    ],
)
def test_a_socket_of_a_stranger_is_refused(served, changes, status):
    async def run() -> int:
        with pytest.raises(InvalidStatus) as refused:
            async with socket_to(served, **changes):
                pass
        return refused.value.response.status_code

    assert asyncio.run(run()) == status


def test_a_token_does_not_open_a_socket(served):
    async def run() -> None:
        url = f"ws://127.0.0.1:{served.port}/?token={TOKEN}"
        with pytest.raises(InvalidStatus):
            async with connect(url, origin=f"http://127.0.0.1:{served.port}"):
                pass

    asyncio.run(run())


def test_three_pages_and_only_one_starts(fresh):
    async def run() -> None:
        page, link = fresh.page, fresh.link
        async with Client(fresh, "one") as one:
            assert await until(lambda: page.operators.count == 1)
            async with Client(fresh, "two") as two, Client(fresh, "three") as three:
                assert await until(lambda: page.operators.count == 3)
                await one.click(BOX + [0, 0, 0.025])
                assert await until(lambda: fresh.lesson.editor.sketch is not None)
                fresh.lesson.move((0, 0, 0.1))
                await two.press("Preview (P)")
                await two.press("Start")
                await two.send(messages.TransformControlsUpdateMessage("/gizmo", (1, 0, 0, 0), (9.0, 9.0, 9.0)))
                await two.send(messages.GuiUpdateMessage(fresh.button("Words"), {"value": "fetch"}))
                await one.press("Preview (P)")
                assert await until(lambda: page.run.previewed != "")
                assert link.calls == ["preview"]
                assert fresh.button("Words") and page.ask._text.value == ""
                await three.press("Start")
                await two.press("STOP")
                assert await until(lambda: "stop" in link.calls)
                assert "start" not in link.calls
                await one.press("Start")
                assert await until(lambda: "start" in link.calls)
                await three.press("Take control")
                assert await until(lambda: page.operators.operator not in (None, 0) and "start" in link.calls)
                before = len(link.calls)
                await one.press("Preview (P)")
                await three.press("Preview (P)")
                assert await until(lambda: link.calls[before:] == ["preview"])

    asyncio.run(run())


def test_start_is_refused_before_a_preview(fresh):
    async def run() -> None:
        async with Client(fresh, "one") as one:
            assert await until(lambda: fresh.page.operators.count == 1)
            await one.click(BOX + [0, 0, 0.025])
            assert await until(lambda: fresh.lesson.editor.sketch is not None)
            await one.press("Start")
            await one.press("Preview (P)")
            assert await until(lambda: fresh.link.calls == ["preview"])
            await one.press("Add waypoint (N)")
            assert await until(lambda: fresh.lesson.last == 2)
            await one.press("Start")  # the previewed motion is another one
            assert await settled(fresh)
            assert fresh.link.calls == ["preview"]

    asyncio.run(run())


@pytest.mark.parametrize(
    "nonsense", [b"", b"\x00" * 100, b"\xc1garbage", "text", msgspec.msgpack.encode({"type": "Nothing"})]
)
def test_nonsense_closes_that_connection_alone(fresh, nonsense):
    async def run() -> None:
        async with Client(fresh, "good"):
            assert await until(lambda: fresh.page.operators.count == 1)
            async with Client(fresh, "bad") as bad:
                try:
                    await bad.raw(nonsense)
                    await bad.closed()
                except ConnectionClosed:
                    pass
            assert get(fresh.port, "/uma/stop", Cookie=fresh.cookie)[0] == 200
            assert fresh.page.operators.count >= 1

    asyncio.run(run())


@pytest.mark.parametrize("place", [(float("nan"), 0.0, 0.0), (1e300, 0.0, 0.0), (float("inf"), 0.0, 0.0)])
def test_a_drag_to_nowhere_changes_nothing(fresh, place):
    async def run() -> None:
        async with Client(fresh, "one") as one:
            assert await until(lambda: fresh.page.operators.count == 1)
            await one.click(BOX + [0, 0, 0.025])
            assert await until(lambda: fresh.lesson.editor.sketch is not None) and await settled(fresh)
            before = fresh.lesson.editor.sketch
            await one.send(messages.TransformControlsDragStartMessage("/gizmo"))
            await one.send(messages.TransformControlsUpdateMessage("/gizmo", (1.0, 0.0, 0.0, 0.0), place))
            await one.send(messages.TransformControlsDragEndMessage("/gizmo"))
            await one.press("Preview (P)")
            assert await until(lambda: "preview" in fresh.link.calls) and await settled(fresh)
            assert fresh.lesson.editor.sketch is before

    asyncio.run(run())


def test_a_page_closed_in_mid_drag_loses_control_and_the_drag(fresh):
    async def run() -> None:
        async with Client(fresh, "one") as one:
            assert await until(lambda: fresh.page.operators.count == 1)
            await one.click(BOX + [0, 0, 0.025])
            assert await until(lambda: fresh.lesson.editor.sketch is not None) and await settled(fresh)
            before = fresh.lesson.editor.sketch
            await one.send(messages.TransformControlsDragStartMessage("/gizmo"))
            await one.send(messages.TransformControlsUpdateMessage("/gizmo", (1.0, 0.0, 0.0, 0.0), (0.6, 0.1, 0.2)))
        assert await until(lambda: fresh.page.operators.operator is None)
        middle = fresh.lesson.centroid()
        gizmo = fresh.page.gizmo._arrows
        assert await until(lambda: abs(gizmo.position - middle).max() < 1e-6)
        assert fresh.lesson.editor.sketch is before

    asyncio.run(run())


def test_a_frozen_page_is_silent_although_its_socket_lives(fresh):
    async def run() -> None:
        alive = "/uma/alive?page=one"
        async with Client(fresh, "one"):
            assert await until(lambda: fresh.page.operators.count == 1)
            for _ in range(3):
                assert (await asyncio.to_thread(get, fresh.port, alive, Cookie=fresh.cookie))[0] == 200
            assert len(fresh.link.alive_at) == 3
            now = fresh.link.alive_at[-1]
            assert fresh.page.operators.silence(now + 1.5) > 1.0
            async with Client(fresh, "two"):  # a second page of the same browser, with the same cookie
                assert await until(lambda: fresh.page.operators.count == 2)
                await asyncio.to_thread(get, fresh.port, "/uma/alive?page=two", Cookie=fresh.cookie)
                assert len(fresh.link.alive_at) == 3

    asyncio.run(run())


def test_nobody_publishes_the_page_through_a_foreign_server(fresh, monkeypatch):
    asked = []
    monkeypatch.setattr(fresh.page.server, "request_share_url", lambda *a, **k: asked.append(a))

    async def run() -> None:
        async with Client(fresh, "one") as one:
            assert await until(lambda: fresh.page.operators.count == 1)
            await one.send(messages.ShareUrlRequest())
            await one.press("STOP")
            assert await until(lambda: "stop" in fresh.link.calls)

    asyncio.run(run())
    assert not asked


# -- start -------------------------------------------------------------------------------------------------------------


def test_a_taken_port_is_an_error(served):
    with pytest.raises(InputError, match=f"port: {served.port} is taken"):
        Page(FakeLink(), PageSettings(port=served.port, token=TOKEN), DROID, print)


@pytest.mark.parametrize("token, words", [("short", "at least 8"), ("with spaces in it", "letters, digits")])
def test_a_weak_token_is_refused(token, words):
    with pytest.raises(InputError, match=words):
        Guard("127.0.0.1", 8080, lambda: None, lambda page: None, token)


def test_an_open_host_admits_addresses_but_no_foreign_name():
    guard = Guard("0.0.0.0", 8080, lambda: None, lambda page: None)
    assert guard.is_ours("192.168.1.7:8080") and guard.is_ours("localhost:8080") and guard.is_ours("[fe80::1]:8080")
    assert not guard.is_ours("evil.example:8080") and not guard.is_ours("192.168.1.7:80")
    named = Guard("192.168.1.7", 8080, lambda: None, lambda page: None)
    assert named.is_ours("192.168.1.7:8080") and not named.is_ours("192.168.1.8:8080")
    assert named.url.startswith("http://192.168.1.7:8080/?token=")


def test_a_page_without_a_head_is_not_served():
    with pytest.raises(ValueError, match="no <head>"):
        with_script(b"<html></html>")
