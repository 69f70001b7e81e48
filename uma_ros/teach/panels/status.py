"""The docked panel: Stop, who has control, and what the robot does, in words."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from uma.control.session import State

if TYPE_CHECKING:
    from uma_ros.teach.page import Page

COLORS = {
    State.IDLE: "#777",
    State.READY: "#2b6cb0",
    State.RUNNING: "#1f9d55",
    State.HOLD: "#d98a00",
    State.FAULT: "#e1322d",
}


class StatusPanel:
    """
    Attributes:
        tab: container in the docked panel, below Stop.
    """

    def __init__(self, page: Page) -> None:
        self._page, gui = page, page.server.gui
        self._panel = gui.add_panel()
        self.tab = self._panel.add_tab("Robot")
        with self.tab:
            self._add_stop("STOP (space, Esc)")
        self._panel.dock_left()
        self._panel.set_width(270)
        # On a phone the docked panel is folded: a second Stop in the main one.
        self._add_stop("STOP")
        self._control = gui.add_html("")
        take = page.everybody(gui.add_button("Take control", color="gray"))

        @take.on_click
        async def _(event: Any) -> None:
            if page.operators.take(event.client_id):
                page.log(f"page {event.client_id} has control")
                page.jobs.submit(page.redraw)

    def add_words(self) -> None:
        """Add the states below what else stands in the docked panel."""
        page, gui = self._page, self._page.server.gui
        with self.tab:
            self._words = gui.add_html("")
            group = gui.add_button_group("Robot", ("home", "recover", "confirm"))
            view = page.everybody(gui.add_button_group("Look from", ("camera", "side", "top")))

        @group.on_click
        async def _(event: Any) -> None:
            service = str(event.target.value)
            page.move(event.client_id, lambda: page.link.call(service, self._answered), redraw=False)

        @view.on_click
        async def _(event: Any) -> None:
            if event.client is not None:
                look(page, event.client, str(event.target.value))

    def _add_stop(self, label: str) -> None:
        button = self._page.everybody(self._page.server.gui.add_button(label, color="red"))

        @button.on_click
        async def _(_: Any) -> None:
            self._page.stop()

    def _answered(self, is_done: bool, text: str) -> None:
        self._page.jobs.submit(lambda: self._page.tell(text, "green" if is_done else "red"))

    def refresh(self) -> None:
        """Show states, ages and who has control."""
        page, plain = self._page, self._page.plain
        rows = []
        for node in ("controller", "policy"):
            seen = page.link.state(node)
            if seen is None:
                rows.append(f"<div><b>{node}</b>: nothing received yet</div>")
                continue
            age = f", {seen.age:.0f} s ago" if seen.age > 2 else ""
            state = f'<b style="color:{COLORS[seen.state]}">{seen.state.name}</b>'
            rows.append(f"<div><b>{node}</b> {state}{age}<br>{plain(seen.reason)}</div>")
        n = page.link.numbers()
        image = f"{n.image_age:.1f} s old, {n.image_hz:.0f} Hz" if math.isfinite(n.image_age) else plain(page.trouble)
        latency = f"{n.latency_ms:.0f} ms" if math.isfinite(n.latency_ms) else "none yet"
        silent = "holds" if n.holds else "is stopped by this node, since the controller has heartbeat_s = 0"
        rows += [
            f"<div>image: {image}</div><div>chunk: {latency}</div>",
            f"<div>Page silent for 1 s: the arm {silent}.</div>",
        ]
        page.say_html(self._words, f'<div style="font-size:13px">{"".join(rows)}</div>')
        who = page.operators.operator
        control = "nobody has control" if who is None else f"page {who} has control"
        page.say(self._control, f"{control}; {page.operators.count} connected")


def look(page: Page, client: Any, name: str) -> None:
    """Move a client's view to the camera, the side or the top."""
    camera = client.camera
    if name == "camera" and page.view is not None:
        T = page.view.T_base_cam
        camera.up_direction = (0.0, 0.0, 1.0)
        camera.position = T[:3, 3]
        camera.look_at = T[:3, 3] + 0.8 * T[:3, 2]
        return
    camera.up_direction = (0.0, 0.0, 1.0)
    camera.position = (0.5, -1.3, 0.6) if name == "side" else (0.45, 0.0, 1.6)
    camera.look_at = (0.45, 0.0, 0.1) if name == "side" else (0.46, 0.0, 0.0)
