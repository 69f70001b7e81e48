"""Panel 4: demonstrations. Record, judge, discard, adapt, and use the new prompt or go back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from uma.types import InputError
from uma_ros.teach.adaptation import Adaptation

if TYPE_CHECKING:
    from uma_ros.teach.page import Page

NO_RECORDER = "no recorder of demonstrations: start the graph with --demonstrations FOLDER"
THUMBNAIL = 96
"""Width of a thumbnail, pixels."""


class DemonstrationsPanel:
    """
    Attributes:
        adaptation: the processes that make a prompt.
    """

    def __init__(self, page: Page) -> None:
        self._page, gui = page, page.server.gui
        self.adaptation = Adaptation(lambda: page.jobs.submit(self.refresh) and None)
        with page.status.tab:
            self._number = gui.add_html("")  # always visible
        with gui.add_folder("4 Demonstrations", expand_by_default=False):
            self._text = gui.add_text("Shown task", "", hint="the instruction that the training data gets")
            page.on_press(gui.add_button("Record", color="blue"), lambda: self._command("start"))
            self._judge = gui.add_button_group("It was a", ("success", "failure"))
            page.on_press(gui.add_button("Discard last", color="orange"), lambda: self._command("discard_last"))
            empty = np.full((THUMBNAIL * 9 // 16, THUMBNAIL, 3), 230, np.uint8)
            self._pictures = {name: gui.add_image(empty, label=name, format="jpeg") for name in ("first", "last")}
            page.on_press(gui.add_button("Adapt", color="blue"), self.adapt)
            page.on_press(gui.add_button("Cancel adapting", color="gray"), self.adaptation.cancel)
            self._progress = gui.add_html("")
            page.on_press(gui.add_button("Use the new prompt", color="green"), self.use)
            page.on_press(gui.add_button("Back to the task before", color="gray"), self.back)

        @self._judge.on_click
        async def _(event: Any) -> None:
            outcome = str(event.target.value)
            page.edit(event.client_id, lambda: self._command(outcome))

    def _command(self, command: str) -> None:
        """Send a command to the recorder. The picture of the moment stands for the episode's begin or end."""
        text = str(self._text.value).strip()
        name = {"start": "first", "success": "last", "failure": "last"}.get(command)
        view = self._page.view

        def answered(is_done: bool, words: str) -> None:
            def show() -> None:
                self._page.tell(words, "green" if is_done else "red")
                if is_done and name and view is not None:
                    step = max(view.rgb.shape[1] // THUMBNAIL, 1)
                    self._pictures[name].image = view.rgb[::step, ::step]
                self.refresh()

            self._page.jobs.submit(show)

        self._page.link.episode(command, text if command == "start" else "", answered)

    def adapt(self) -> None:
        """Start the adaptation. Raises `InputError` without demonstrations."""
        folder, checkpoint = self._page.link.training()
        if not folder:
            raise InputError(f"adapt: {NO_RECORDER}")
        self.adaptation.start(folder, checkpoint)
        self.refresh()

    def use(self) -> None:
        """Make the new prompt the task that Preview and Start are about. Raises `InputError` without one."""
        if not self.adaptation.prompt:
            raise InputError("prompt: none yet; record demonstrations, then press Adapt")
        self._page.ask.offer(self.adaptation.prompt)

    def back(self) -> None:
        """Put the policy's task before the present one in force."""

        def answered(is_done: bool, words: str) -> None:
            self._page.jobs.submit(lambda: self._page.tell(words, "green" if is_done else "red"))

        self._page.link.call("previous_task", answered)

    def refresh(self) -> None:
        """Show the number and the counts of the episodes, and the progress of the adaptation."""
        recorder = self._page.link.state("recorder")
        is_there = recorder is not None and bool(self._page.link.training()[0])
        self._page.say(self._number, f"demonstrations: {recorder.reason}" if recorder and is_there else NO_RECORDER)
        self._page.say(self._progress, self.adaptation.words or "adapting: not started")

    def close(self) -> None:
        """End a running adaptation."""
        self.adaptation.cancel()
