"""Preview and Start in the docked panel, and why Start is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from uma.types import InputError
from uma_ros.teach.gatekeeper import Facts, refusals
from uma_ros.teach.link import Outlook
from uma_ros.teach.scene import moved
from uma_ros.teach.task import Ask

if TYPE_CHECKING:
    from uma_ros.teach.page import Page


class RunPanel:
    """
    Attributes:
        previewed: key of the last previewed task; empty before, and after a start.
    """

    def __init__(self, page: Page) -> None:
        self._page, gui = page, page.server.gui
        self.previewed, self._words_of_preview = "", ""
        self._asked = ""  # key of the task whose preview is under way
        with page.status.tab:
            page.on_press(gui.add_button("Preview (P)", color="blue"), self.preview)
            self._rehearse = page.on_press(gui.add_button("Rehearse in a copy", color="gray"), self.rehearse)
            self._rehearse.visible = False
            self._start = gui.add_button("Start", color="gray")
            self._words = gui.add_html("")

        @self._start.on_click
        async def _(event) -> None:  # type: ignore[no-untyped-def]
            page.move(event.client_id, self.start)

        command = gui.add_command("Preview", hotkey="P")

        @command.on_trigger
        async def _(event) -> None:  # type: ignore[no-untyped-def]
            page.edit(event.client_id, self.preview)

    # -- actions -------------------------------------------------------------------------------------------------------

    def preview(self) -> None:
        """Ask the policy for its first chunk. Raises `InputError` without a task."""
        ask = self._page.ask.task()
        if ask is None:
            raise InputError("preview: no task yet; click an object and drag it")
        if self._asked:
            raise InputError("preview: another one is in progress")
        self._asked, self._words_of_preview = ask.key, "Preview: the policy is asked …"
        jobs = self._page.jobs
        self._page.link.preview(ask, lambda outlook, text: jobs.submit(lambda: self._show(ask, outlook, text)) and None)

    def _show(self, ask: Ask, outlook: Outlook | None, text: str) -> None:
        self._asked = ""
        self._page.drawing.show_outlook(outlook, "preview")
        if outlook is None:
            self.previewed, self._words_of_preview = "", ""
            self._page.tell(f"no preview: {text}", "red")
        else:
            self.previewed, self._words_of_preview = ask.key, told(outlook, self._page.lesson.centroid_at(0), ask)
        self.refresh()

    def rehearse(self) -> None:
        """Let the policy do the whole task in a copy of the simulated scene. Raises `InputError` without a task."""
        ask, page = self._page.ask.task(), self._page
        if ask is None:
            raise InputError("rehearse: no task yet; click an object and drag it")

        def say(text: str) -> None:
            self._words_of_preview = f"Rehearsal: {text}"
            page.jobs.submit(self.refresh)

        def done(outlook: Outlook | None, text: str) -> None:
            def show() -> None:
                page.drawing.show_outlook(outlook, "preview")
                say(text)
                if outlook is None:
                    page.tell(text, "red")

            page.jobs.submit(show)

        say("a copy of the scene is made …")
        page.link.rehearse(ask, say, done)

    def start(self) -> None:
        """Start the previewed task. Raises `InputError` with the reasons if it is refused."""
        ask, why = self._page.ask.task(), self.refusals(True)
        if why or ask is None:
            raise InputError("not started: " + "; ".join(why))
        self.previewed, self._words_of_preview = "", ""
        page = self._page

        def answered(is_done: bool, text: str) -> None:
            page.jobs.submit(lambda: page.tell(text, "green" if is_done else "red"))

        page.drawing.show_outlook(None, "preview")
        page.link.start(ask, answered)

    def refusals(self, is_operator: bool) -> list[str]:
        """Return why Start is refused."""
        page, lesson = self._page, self._page.lesson
        ask = page.ask.task()
        is_shown = ask is not None and ask.reference is not None
        why = ""
        if page.view is None:
            why = page.trouble
        elif is_shown and lesson.clicks is not None and lesson.editor.sketch is not None:
            mask = lesson.editor.sketch.is_object
            why = moved(lesson.clicks.view, page.view, mask) if mask is not None else ""
        facts = Facts(
            is_operator,
            "" if ask is None else ask.key,
            self.previewed,
            page.link.state("policy"),
            page.link.state("controller"),
            why,
            lesson.hints() if is_shown else [],
            page.start_service,
            is_shown and lesson.waiting is not None,
        )
        return refusals(facts)

    def refresh(self) -> None:
        """Show the preview's words and the reasons."""
        why = self.refusals(True)
        plain = self._page.plain
        rows = "".join(f"<li>{plain(reason)}</li>" for reason in why)
        waits = f'<div style="font-size:12px">Start waits:<ul style="margin:0;padding-left:16px">{rows}</ul></div>'
        ready = '<div style="color:#1f9d55"><b>Start is free: the robot will move.</b></div>'
        told_ = f'<div style="font-size:13px">{plain(self._words_of_preview)}</div>' if self._words_of_preview else ""
        self._page.say_html(self._words, told_ + (waits if why else ready))
        if self._rehearse.visible != (offered := self._page.link.can_rehearse()):
            self._rehearse.visible = offered
        color = "gray" if why else "green"
        if self._start.color != color:
            self._start.color = color


def told(outlook: Outlook, centre: np.ndarray | None, ask: Ask) -> str:
    """Return a preview in words, with distances in centimetres.

    Args:
        centre: ``(3,)`` where the object is, base frame; None if unknown.
    """
    way = 100 * float(np.linalg.norm(np.diff(outlook.tool, axis=0), axis=1).sum())
    text = f"Preview of {outlook.seconds:.1f} s: the gripper moves {way:.0f} cm"
    if centre is not None and ask.reference is not None:
        text += f" and ends {100 * float(np.linalg.norm(outlook.tool[-1] - centre)):.0f} cm from the object"
    if outlook.motion is not None and ask.reference is not None:
        shift = 100 * float(np.linalg.norm(outlook.motion[-1] - outlook.motion[0], axis=1).mean())
        wanted = [np.linalg.norm(np.diff(w, axis=0), axis=1).sum() for w in ask.reference.waypoints]
        text += f"; the object is predicted to move {shift:.1f} of {100 * float(np.mean(wanted)):.0f} cm"
    return text + ". One chunk is about a second: before the grasp it shows the approach alone."
