"""Panel 3: what is asked for. The motion of the panels above, or words, a goal image, a stored prompt."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from uma.types import InputError
from uma_ros.teach.scene import View
from uma_ros.teach.task import Ask

if TYPE_CHECKING:
    from uma_ros.teach.page import Page

SOURCES = ("motion", "words", "goal", "prompt")


class AskPanel:
    """
    Attributes:
        source: what Preview and Start are about, one of `SOURCES`.
    """

    def __init__(self, page: Page) -> None:
        self._page, gui = page, page.server.gui
        self.source = "motion"
        self._goal: View | None = None
        with gui.add_folder("3 Ask otherwise", expand_by_default=False):
            self._group = gui.add_button_group("Task is", SOURCES)
            self._text = gui.add_text("Words", "")
            page.on_press(
                gui.add_button("This is the goal", hint="takes the present picture as the goal image"), self._take
            )
            self._prompts = page.settings.prompts
            self._prompt = gui.add_dropdown("Prompt", self._prompts or ("none",), disabled=not self._prompts)
        self._words = gui.add_html("")

        @self._group.on_click
        async def _(event: Any) -> None:
            source = str(event.target.value)
            page.edit(event.client_id, lambda: setattr(self, "source", source))

        @self._text.on_update
        async def _(event: Any) -> None:
            if event.client_id is not None and str(event.target.value).strip():
                page.edit(event.client_id, lambda: setattr(self, "source", "words"))

    def _take(self) -> None:
        if self._page.view is None:
            raise InputError(f"goal: {self._page.trouble}")
        self._goal, self.source = self._page.view, "goal"

    def offer(self, prompt: str) -> None:
        """Add a prompt file to the list, and ask for it."""
        self._prompts = (prompt, *(p for p in self._prompts if p != prompt))
        self._prompt.options, self._prompt.disabled = self._prompts, False
        self._prompt.value, self.source = prompt, "prompt"

    def task(self) -> Ask | None:
        """Return the task that the page shows; None before it is complete."""
        if self.source == "words":
            return Ask(instruction=str(self._text.value).strip()[:500]) if str(self._text.value).strip() else None
        if self.source == "goal":
            return Ask(goal=self._goal) if self._goal is not None else None
        if self.source == "prompt":
            return Ask(prompt=str(self._prompt.value)) if self._prompts else None
        sketch = self._page.lesson.editor.sketch
        return Ask(reference=sketch.reference()) if sketch is not None and len(sketch.waypoints) > 1 else None

    def refresh(self) -> None:
        """Say what the task is."""
        names = {
            "motion": "the shown motion",
            "words": f"“{self._text.value}”",
            "prompt": f"prompt {self._prompt.value}",
        }
        names["goal"] = "the goal image" if self._goal is not None else "a goal image, not taken yet"
        self._page.say(self._words, f"Task: {names[self.source]}")
