"""A page without a browser and without ROS, and clients that speak to it by WebSocket as a browser does."""

from __future__ import annotations

import asyncio
import threading

import msgspec
import viser
from teaching import FakeLink, eventually, free_port, get, ray_to
from viser import _messages as messages
from websockets.asyncio.client import connect

from uma.robot import DROID
from uma_ros.teach.page import Page, PageSettings

TOKEN = "a-token-for-tests"


class Served:
    """A page and the robot's side. ``settings`` are of `PageSettings`."""

    def __init__(self, **settings: object) -> None:
        self.link, self.port, self.logged = FakeLink(), free_port(), []
        self.page = Page(self.link, PageSettings(port=self.port, token=TOKEN, **settings), DROID, self.logged.append)
        status, headers, _ = get(self.port, f"/?token={TOKEN}")
        assert status == 200
        self.cookie = headers["set-cookie"].split(";")[0]
        self.set_cookie = headers["set-cookie"]

    @property
    def lesson(self):
        return self.page.lesson

    def refresh(self) -> None:
        """Wait until no client is there and nothing is left to do; then forget the object and the calls."""
        assert eventually(lambda: self.page.operators.count == 0)
        for _ in range(2):  # a job may leave another one
            done = threading.Event()
            self.page.jobs.submit(done.set)
            assert done.wait(20.0)
        self.page.lesson.clear()
        self.page.run.previewed = ""
        self.link.calls.clear()
        self.link.alive_at.clear()

    def button(self, label: str) -> str:
        """The element with this label."""
        handles = self.page.server.gui._gui_input_handle_from_uuid
        return next(uuid for uuid, h in handles.items() if getattr(h, "label", "") == label)


def headers(served: Served, **changes: str | None) -> dict[str, str]:
    own = {"Origin": f"http://127.0.0.1:{served.port}", "Cookie": served.cookie, **changes}
    return {k: v for k, v in own.items() if v is not None}


def socket_to(served: Served, **changes: str | None):
    """A WebSocket as a browser opens it."""
    given = headers(served, **changes)
    origin = given.pop("Origin", None)
    protocol = [f"viser-v{viser.__version__}"]
    url = f"ws://127.0.0.1:{served.port}/"
    return connect(url, origin=origin, additional_headers=given, subprotocols=protocol, max_size=None)


class Client:
    """A page without a browser: it answers as the script in the page does."""

    def __init__(self, served: Served, name: str) -> None:
        self.served, self.name = served, name

    async def __aenter__(self):
        self._socket = await socket_to(self.served).__aenter__()
        camera = messages.ViewerCameraMessage(
            wxyz=(1.0, 0.0, 0.0, 0.0), position=(1.0, 0.0, 1.0), fov=1.0, near=0.01, far=10.0,
            image_height=100, image_width=100, look_at=(0.0, 0.0, 0.0), up_direction=(0.0, 0.0, 1.0),
        )  # fmt: skip
        await self.send(camera)
        self._reader = asyncio.create_task(self._read())
        return self

    async def __aexit__(self, *_):
        self._reader.cancel()
        await self._socket.close()

    async def _read(self):
        while True:
            raw = await self._socket.recv()
            size = int.from_bytes(raw[8:16], "little")
            import zstandard

            for message in msgspec.msgpack.decode(zstandard.decompress(raw[16 : 16 + size]))["messages"]:
                if message["type"] == "LocalStorageGetItemRequestMessage":
                    answer = messages.LocalStorageGetItemResponseMessage(self.name, None, message["request_uuid"])
                    await self.send(answer)

    async def send(self, message) -> None:
        await self.raw(msgspec.msgpack.encode(message.as_serializable_dict(None)))

    async def raw(self, data) -> None:
        await self._socket.send(data)

    async def press(self, label: str, value: object = True) -> None:
        """Press a button, or the button ``value`` of a group."""
        await self.send(messages.GuiUpdateMessage(self.served.button(label), {"value": value}))

    async def click(self, place, modifier: str | None = None) -> None:
        assert await until(lambda: self.served.page.view is not None)  # a click is on a shown image
        origin, direction = ray_to(place)
        await self.send(messages.ScenePointerMessage("click", tuple(origin), tuple(direction), ((0.5, 0.5),), modifier))

    async def closed(self) -> bool:
        try:
            await asyncio.wait_for(self._socket.wait_closed(), 10.0)
        except TimeoutError:
            return False
        return True


async def until(condition, seconds: float = 20.0) -> bool:
    return await asyncio.to_thread(eventually, condition, seconds)


async def settled(served: Served) -> bool:
    """Wait until the page has done what it was asked for so far."""
    done = threading.Event()
    served.page.jobs.submit(done.set)
    return await until(done.is_set)
