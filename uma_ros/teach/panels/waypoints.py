"""Panel 2: the waypoints. Buttons, keys and templates change the edited one or append to them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from uma.types import InputError

if TYPE_CHECKING:
    from uma_ros.teach.page import Page

NUDGE_M, TURN_DEG = 0.005, 15.0
"""Steps of the keys."""

NUDGES = {
    "8": ("away from the robot", (1, 0, 0)),
    "2": ("toward the robot", (-1, 0, 0)),
    "4": ("left, +y", (0, 1, 0)),
    "6": ("right, -y", (0, -1, 0)),
    "9": ("up", (0, 0, 1)),
    "3": ("down", (0, 0, -1)),
}
"""Key -> words and direction in the base frame. The digits lie as on a number pad; letters move viser's camera."""

TEMPLATES = {"lift": "cm", "carry to": "cm", "turn": "degrees", "push along": "cm"}
"""Template -> unit of its value."""

COLORS = {True: "#e1322d", False: "#d98a00"}
"""Whether a hint is a refusal -> colour of its text."""


class WaypointsPanel:
    def __init__(self, page: Page) -> None:
        self._page, lesson, gui = page, page.lesson, page.server.gui
        with gui.add_folder("2 Waypoints"):
            self._table = gui.add_html("")
            self._index = gui.add_button_group("Edit", ("-",), hint="a click on a row does the same")
            with_undo: dict[str, Callable[[], None]] = {"undo": self._undo, "redo": self._redo}
            ways: dict[str, Callable[[], None]] = {
                "add": lesson.add,
                "insert": lesson.insert,
                "copy": lesson.duplicate,
                "delete": lesson.delete,
            }
            self._add = page.on_press(gui.add_button("Add waypoint (N)", color="blue"), lesson.add)
            self._group("Change", {k: v for k, v in ways.items() if k != "add"})
            self._group("History", with_undo)
            self._group("Last one", {"snap down": self._snap})
            self._group("Points", {"pin": self._pin, "free": self._free, "all": lambda: lesson.editor.pick()})
            with gui.add_folder("Templates", expand_by_default=False):
                self._template = gui.add_dropdown("Motion", tuple(TEMPLATES))
                self._value = gui.add_number("cm or degrees", 15.0, min=-360.0, max=360.0, step=1.0)
                self._direction = gui.add_number("Direction, degrees", 0.0, min=-360.0, max=360.0, step=5.0)
                page.on_press(gui.add_button("Append"), self._append)
                self._axis = gui.add_dropdown("Arc about", ("x", "y", "z"))
                page.on_press(gui.add_button("Append arc"), self._arc)
        self._add_keys(ways | with_undo)

        @self._index.on_click
        async def _(event: Any) -> None:
            value = str(event.target.value)
            if value.isdigit():
                page.edit(event.client_id, lambda: lesson.go_to(int(value)))

    def _group(self, label: str, actions: dict[str, Callable[[], None]]) -> None:
        group = self._page.server.gui.add_button_group(label, tuple(actions))

        @group.on_click
        async def _(event: Any) -> None:
            self._page.edit(event.client_id, actions[str(event.target.value)])

    def _add_keys(self, actions: dict[str, Callable[[], None]]) -> None:
        lesson = self._page.lesson
        for key, name in (
            ("N", "add"),
            ("I", "insert"),
            ("C", "copy"),
            ("delete", "delete"),
            ("Z", "undo"),
            ("Y", "redo"),
        ):
            self._key(f"Waypoint: {name}", key, actions[name])
        self._key("Waypoint: snap the last one down", "B", self._snap)
        for key, (words, direction) in NUDGES.items():
            shift = tuple(NUDGE_M * v for v in direction)
            self._key(f"Waypoint: 5 mm {words}", key, lambda shift=shift: lesson.move(shift))
        for key, sign in (("7", 1), ("1", -1)):
            self._key(
                f"Waypoint: turn by {sign * TURN_DEG:+.0f}°", key, lambda sign=sign: lesson.turn("z", sign * TURN_DEG)
            )

    def _key(self, label: str, key: str, action: Callable[[], None]) -> None:
        command = self._page.server.gui.add_command(label, hotkey=key)

        @command.on_trigger
        async def _(event: Any) -> None:
            self._page.edit(event.client_id, action)

    def _undo(self) -> None:
        if not self._page.lesson.undo():
            raise InputError("undo: nothing left to take back")

    def _redo(self) -> None:
        if not self._page.lesson.redo():
            raise InputError("redo: nothing was taken back")

    def _snap(self) -> None:
        if self._page.view is None:
            raise InputError(f"snap: {self._page.trouble}")
        self._page.lesson.snap(self._page.view)

    def _pin(self) -> None:
        sketch = self._page.lesson.editor.sketch
        if sketch is None or not sketch.picked:
            raise InputError("pin: no keypoint is picked, must be clicked first")
        self._page.lesson.pin_picked()

    def _free(self) -> None:
        self._page.lesson.editor.pin(())

    def _append(self) -> None:
        name, value = str(self._template.value), float(self._value.value)
        self._page.lesson.template(name, value if name == "turn" else value / 100, float(self._direction.value))

    def _arc(self) -> None:
        self._page.lesson.arc(str(self._axis.value), float(self._value.value))

    def refresh(self) -> None:
        """Show the waypoints with their hints."""
        lesson = self._page.lesson
        sketch = lesson.editor.sketch
        self._offer(lesson.last)
        if sketch is None:
            self._page.say_html(self._table, "<i>none yet</i>")
            return
        plain, hints = self._page.plain, lesson.hints()
        rows = []
        for i, way in enumerate(sketch.waypoints):
            x, y, z = way[sketch.edited].mean(0) if len(sketch.edited) else way.mean(0)
            words = "; ".join(
                f'<span style="color:{COLORS[h.is_refusal]}">{plain(h.text)}</span>' for h in hints if h.waypoint == i
            )
            mark = "<b>▶</b>" if i == lesson.current else ""
            name = "start" if i == 0 else str(i)
            rows.append(
                f"<tr{_press(i) if i else ''}><td>{mark}</td><td>{name}</td>"
                f"<td>{x:.2f} {y:.2f} {z:.2f}</td><td>{words or 'ok'}</td></tr>"
            )
        general = "".join(
            f'<div style="color:{COLORS[h.is_refusal]}">{plain(h.text)}</div>' for h in hints if h.waypoint is None
        )
        style = "width:100%;font-size:12px;border-spacing:4px 1px"
        head = "<thead><tr><td></td><td></td><td>x y z, m</td><td></td></tr></thead>"
        body = f"<tbody>{''.join(rows)}</tbody>"
        self._page.say_html(self._table, f'<table style="{style}">{head}{body}</table>{general}')

    def _offer(self, count: int) -> None:
        """Offer ``count`` waypoints after the start."""
        options = tuple(str(i + 1) for i in range(count)) or ("-",)
        if tuple(self._index.options) != options:
            self._index.options = options


def _press(index: int) -> str:
    """Return the attributes of a row whose click presses the button of waypoint ``index``, see `SCRIPT` of the page."""
    return f' data-press="{index}" style="cursor:pointer" title="edit waypoint {index}"'
