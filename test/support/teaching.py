"""A page with a drawn table and a robot's side of plain data, for tests without ROS."""

from __future__ import annotations

import http.client
import socket
import threading
import time

import numpy as np
from tables import CAMERA, T_BASE_CAM, box, draw

from uma.control.session import State
from uma.geometry import fr3
from uma.types import InputError
from uma_ros.teach.gatekeeper import NodeState
from uma_ros.teach.link import Numbers, Outlook
from uma_ros.teach.scene import View

BOX = np.array([0.50, 0.0, 0.025])
"""Centre of the box, metres."""


def drawn(x: float | None = 0.50, stamp: float = 1.0, joints: np.ndarray | None = None) -> View:
    """Return a frame of a table with a red box at ``x``, metres; None for an empty table."""
    rgb, depth, _ = draw([] if x is None else [box(x, 0.0)], seed=int(stamp))
    return View(rgb, depth, CAMERA, T_BASE_CAM, joints, 0.0, stamp)


def ray_to(place: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return a ray from above the camera to a place, base frame: origin and direction."""
    origin = T_BASE_CAM[:3, 3] + [0.0, 0.0, 0.3]
    return origin, place - origin


class FakeLink:
    """The robot's side: what a page asked for is in ``calls``."""

    def __init__(self) -> None:
        self.seen: View | None = drawn()
        self.states = {"policy": NodeState(State.READY, "waiting for a task"), "controller": NodeState(State.READY)}
        self.calls: list[str] = []
        self.alive_at: list[float] = []
        self.asks: list = []
        self.has_recorder, self.folder, self.is_simulated = True, "", True

    def view(self):
        if self.seen is None:
            raise InputError("camera: nothing")
        return self.seen

    def joints(self):
        return fr3.REST, 0.0

    def state(self, node):
        return self.states.get(node)

    def numbers(self):
        return Numbers(0.1, 50.0, 15.0, True)

    def outlook(self):
        return None

    def suggestion(self):
        return None

    def camera_pose(self, frame):
        T = np.eye(4) if frame == CAMERA.frame else np.linalg.inv(T_BASE_CAM)
        return T_BASE_CAM, T, CAMERA.frame

    def preview(self, ask, done):
        self.calls.append("preview")
        self.asks.append(ask)
        way = np.linspace(BOX + [0, 0, 0.4], BOX + [0, 0, 0.3], 16)
        done(Outlook(way, np.repeat(BOX[None, None], 16, 0), 16 / 15), "")

    def can_rehearse(self):
        return self.is_simulated

    def rehearse(self, ask, say, done):
        self.calls.append("rehearse")
        say("1 of 20 s, 12 cm from the end")
        done(None if ask.goal else Outlook(np.zeros((31, 3)) + BOX, np.repeat(BOX[None, None], 31, 0), 2.0), "2.0 s")

    def start(self, ask, done):
        self.calls.append("start")
        self.asks.append(ask)
        done(True, "started")

    def stop(self):
        self.calls.append("stop")

    def call(self, service, done):
        self.calls.append(service)
        done(True, service)

    def episode(self, command, text, done):
        self.calls.append(f"episode {command} {text}".strip())
        done(self.has_recorder, f"{command} done" if self.has_recorder else "no recorder")

    def training(self):
        return self.folder, "models/x"

    def alive(self):
        self.alive_at.append(time.monotonic())


def free_port() -> int:
    """Return a port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def get(port: int, path: str, host: str = "127.0.0.1", **headers: str) -> tuple[int, dict[str, str], bytes]:
    """Return status, headers and body of a GET request to ``host``. Names of headers have ``_`` for ``-``."""
    connection = http.client.HTTPConnection(host, port, timeout=20)
    try:
        named = {"Host": f"127.0.0.1:{port}", **{k.replace("_", "-"): v for k, v in headers.items()}}
        connection.putrequest("GET", path, skip_host=True, skip_accept_encoding=True)
        for name, value in named.items():
            connection.putheader(name, value)
        connection.endheaders()
        answer = connection.getresponse()
        return answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read()
    finally:
        connection.close()


def eventually(condition, seconds: float = 20.0) -> bool:
    """Return whether a condition holds within some seconds."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        threading.Event().wait(0.02)
    return True
