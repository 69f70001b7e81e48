"""The page: viser's server behind the guard, the panels, and one thread that draws. It decides nothing itself."""

from __future__ import annotations

import contextlib
import html
import io
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from uma.control.safety import SafetySettings
from uma.robot import RobotConfig
from uma.types import InputError
from uma_ros.teach.draw import Drawing
from uma_ros.teach.gizmo import Gizmo
from uma_ros.teach.guard import Guard
from uma_ros.teach.jobs import Jobs
from uma_ros.teach.lesson import Lesson
from uma_ros.teach.link import Link
from uma_ros.teach.operator import Operators
from uma_ros.teach.permits import install
from uma_ros.teach.scene import Box, View, cloud
from uma_ros.teach.script import PAGE_KEY


@dataclass(frozen=True)
class PageSettings:
    """Settings of the page.

    Attributes:
        base_frame: base frame of the robot.
        start_service: full name of the controller's start.
        rate: clouds per second.
        prompts: files of stored prompts on the policy's computer.
    """

    host: str = "127.0.0.1"
    port: int = 8080
    token: str = ""
    rate: float = 4.0
    box: Box = field(default_factory=Box)
    prompts: tuple[str, ...] = ()
    base_frame: str = "fr3_link0"
    start_service: str = "/uma/start"


def load_viser() -> Any:
    """Return the module viser. Raises `InputError` with the extra that installs it."""
    try:
        import viser
    except ImportError as error:
        raise InputError(
            f"the page needs the Python package 'viser' ({error}); the extra 'teach' installs it"
        ) from None
    version = tuple(int(part) for part in viser.__version__.split(".")[:3] if part.isdigit())
    if not (1, 1, 1) <= version < (1, 2):
        raise InputError(f"viser: {viser.__version__}, must be >= 1.1.1 and < 1.2; the extra 'teach' installs it")
    return viser


class Page:
    """The server and its state.

    Attributes:
        view: the frame that is shown; clicks are on it.
        is_dirty: whether the sketch must be drawn again.

    Raises:
        InputError: viser is missing or has another version, or the port is taken.
    """

    def __init__(self, link: Link, settings: PageSettings, config: RobotConfig, log: Callable[[str], None]) -> None:
        self.link, self.settings, self.log = link, settings, log
        self.lesson, self.operators = Lesson(), Operators()
        self.view: View | None = None
        self.trouble = "no image yet"
        self._stops = 0
        token = {"token": settings.token} if settings.token else {}
        self.guard = Guard(settings.host, settings.port, self.stop, self._alive, **token)
        self.server = self._serve(load_viser())
        self.jobs = Jobs(self._tick, 0.1, self._failed)
        self._open: set[str] = set()  # elements of the page that everybody may use
        released: set[int] = set()  # clients whose drag ended by their own release
        install(self.server, self.operators.is_operator, self._open, released)
        self.drawing = Drawing(self.server, config)
        self.drawing.show_workspace(SafetySettings())
        self.gizmo = Gizmo(self.server, self.lesson, self.edit, released)
        self._due = {"cloud": 0.0, "camera": 0.0, "words": 0.0, "robot": 0.0}
        self._client: int | None = None  # whose job runs
        self._add_panels()
        self.server.on_client_connect(lambda client: self._join(client))
        self.server.on_client_disconnect(lambda client: self._leave(client.client_id))
        self.jobs.start()

    def _serve(self, viser: Any) -> Any:
        s = self.settings
        try:
            with self.guard.installed(), contextlib.redirect_stdout(io.StringIO()):
                server = viser.ViserServer(host=s.host, port=s.port, label="UMA teach", verbose=False)
        except OSError as error:
            raise InputError(f"host: {s.host}:{s.port}: {error}") from None
        if server.get_port() != s.port:
            server.stop()
            raise InputError(f"port: {s.port} is taken on {s.host}, must be free")
        server.gui.configure_theme(show_logo=False, show_share_button=False, control_width="medium")
        server.gui.main_panel.dock_right()
        server.scene.configure_default_lights(cast_shadow=False)
        server.scene.configure_environment_map(hdri=None)  # its shader costs ten seconds of a core without a GPU
        server.initial_camera.position, server.initial_camera.look_at = (1.5, -0.75, 0.95), (0.45, 0.0, 0.1)
        return server

    def _add_panels(self) -> None:
        from uma_ros.teach.panels import ask, demonstrations, object, run, status, waypoints

        self.status = status.StatusPanel(self)
        self.run = run.RunPanel(self)
        self.status.add_words()
        self.object, self.waypoints = object.ObjectPanel(self), waypoints.WaypointsPanel(self)
        self.ask, self.demonstrations = ask.AskPanel(self), demonstrations.DemonstrationsPanel(self)
        self.panels = (self.status, self.object, self.waypoints, self.ask, self.demonstrations, self.run)

    # -- who -----------------------------------------------------------------------------------------------------------

    def _join(self, client: Any) -> None:
        """Ask a new client for the name of its page. viser calls it in a thread."""
        try:
            page = client.local_storage.get_item(PAGE_KEY)  # a slow page answers after its first picture
        except RuntimeError:  # it is gone, or its browser has no storage
            return
        if not page:
            return
        self.operators.join(client.client_id, page)
        self.jobs.submit(self.redraw)

    def _leave(self, client: int) -> None:
        if self.operators.leave(client):
            self.log("the operator's page is gone")
            self.jobs.submit(self.redraw)  # a drag without an end

    def _alive(self, page: str) -> None:
        if self.operators.alive(page, time.monotonic()):
            self.link.alive()

    def stop(self) -> None:
        """Stop the robot, whoever asks. Motion that was asked for before and waits does not start."""
        self._stops += 1
        self.link.stop()

    @property
    def base_frame(self) -> str:
        """Base frame of the robot."""
        return self.settings.base_frame

    @property
    def start_service(self) -> str:
        """Full name of the controller's start."""
        return self.settings.start_service

    @staticmethod
    def plain(text: object) -> str:
        """Return a text as HTML that shows it literally."""
        return html.escape(str(text), quote=True)

    def say(self, element: Any, text: str) -> None:
        """Show a text literally in an HTML element."""
        self.say_html(element, f'<div style="font-size:13px">{self.plain(text)}</div>')

    @staticmethod
    def say_html(element: Any, content: str) -> None:
        """Show HTML, whose texts went through `plain`. The same content is not sent again."""
        content = f'<div style="padding:2px 10px">{content}</div>'
        if element.content != content:
            element.content = content

    def limit(self, safety: SafetySettings) -> None:
        """Use the controller's limits for the hints and the drawing."""

        def job() -> None:
            self.lesson.limit(safety)
            self.drawing.show_workspace(safety)
            self.redraw()

        self.jobs.submit(job)

    def everybody(self, element: Any) -> Any:
        """Let every client use an element of the page. Return it."""
        self._open.add(element._impl.uuid)
        return element

    # -- work ----------------------------------------------------------------------------------------------------------

    def edit(self, client: int | None, change: Callable[[], None], redraw: bool = True) -> None:
        """Run ``change`` on the page's thread if ``client`` has control; its `InputError` becomes a notice."""

        def job() -> None:
            if not self.operators.is_operator(client):
                self.notice(client, "another page has control: press Take control", "red")
                return
            self._client = client
            try:
                change()
            except InputError as error:
                self.notice(client, str(error), "red")
            if redraw:
                self.redraw()

        if not self.jobs.submit(job):
            self.log("the page is too busy: an input was dropped")

    def move(self, client: int | None, action: Callable[[], None], redraw: bool = True) -> None:
        """As `edit`, for an ``action`` that may start motion. A stop after the request prevents it."""
        stops = self._stops

        def unless_stopped() -> None:
            if self._stops != stops:
                raise InputError("not started: stopped after the request")
            action()
            if self._stops != stops:  # meanwhile
                self.link.stop()

        self.edit(client, unless_stopped, redraw)

    def on_press(self, button: Any, change: Callable[[], None], redraw: bool = True) -> Any:
        """Connect a button of the operator. Return it."""

        @button.on_click
        async def _(event: Any) -> None:
            self.edit(event.client_id, change, redraw)

        return button

    def notice(self, client: int | None, text: str, color: str = "blue") -> None:
        """Show a short text on one page; None for all."""
        if color == "red":
            self.log(f"page: {text}")
        clients = self.server.get_clients()
        for each in clients.values() if client is None else [clients[client]] if client in clients else []:
            each.add_notification(title=text[:300], body="", auto_close_seconds=6.0, color=color)

    def tell(self, text: str, color: str = "blue") -> None:
        """Show a short text on the operator's page."""
        self.notice(self.operators.operator, text, color)

    def redraw(self) -> None:
        """Draw the sketch and the panels again."""
        self.drawing.show_sketch(self.lesson)
        self.gizmo.show()
        for panel in self.panels:
            panel.refresh()

    def _failed(self, error: Exception) -> None:
        self.log(f"page: {type(error).__name__}: {error}")

    def _tick(self) -> None:
        now = time.monotonic()
        if self._is_due("robot", 0.2, now):
            joints, gripper = self.link.joints()
            if joints is not None:
                self.drawing.show_robot(joints, gripper)
        # The first operator sees the scene at once, so that nobody clicks on a picture that is not there yet.
        if self.operators.count and self._is_due("cloud", 1.0 / self.settings.rate if self.view else 0.2, now):
            self._show_view()
        if self._is_due("words", 0.5, now):
            self.drawing.show_outlook(self.link.outlook(), "live")
            self.status.refresh()
            self.run.refresh()
            self.demonstrations.refresh()

    def _is_due(self, what: str, period: float, now: float) -> bool:
        if now < self._due[what]:
            return False
        self._due[what] = now + period
        return True

    def _show_view(self) -> None:
        try:
            view = self.link.view()
        except InputError as error:
            self.trouble = str(error)
            return
        if view is None or (self.view is not None and view.stamp == self.view.stamp):
            return
        self.view, self.trouble = view, ""
        self.drawing.show_cloud(*cloud(view, self.settings.box))
        if self._is_due("camera", 1.0, time.monotonic()):
            self.drawing.show_camera(view)

    def close(self) -> None:
        """End the thread, a running adaptation and the server."""
        self.demonstrations.close()
        self.jobs.close()
        self.server.stop()
