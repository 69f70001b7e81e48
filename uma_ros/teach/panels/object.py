"""Panel 1: the object. A click chooses it; Alt-click is a neighbour, Shift-click a further part."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from uma.sketch.segment import KINDS
from uma.types import InputError, ReferenceMotion
from uma_ros.commands.reference import load_reference, recorded_reference, reference_text
from uma_ros.teach.clicks import Clicks, picture
from uma_ros.teach.scene import pick

if TYPE_CHECKING:
    from uma_ros.teach.page import Page

MOST_BYTES = 1_000_000
"""Largest reference file."""

CLICKS = {None: "object", "alt": "not this", "shift": "also"}
"""Modifier key -> what a click means."""


class ObjectPanel:
    def __init__(self, page: Page) -> None:
        self._page = page
        gui = page.server.gui
        with gui.add_folder("1 Object"):
            self._words = gui.add_html("")
            empty = np.full((9, 16, 3), 230, np.uint8)
            self._picture = gui.add_image(empty, format="jpeg", jpeg_quality=80, visible=False)
            self._shown: tuple[Clicks | None, Clicks | None] = (None, None)
            self._keep = page.on_press(gui.add_button("Keep this answer (K)", color="orange"), page.lesson.keep)
            self._drop = page.on_press(gui.add_button("Drop this answer (X)", color="gray"), page.lesson.drop)
            self._mode = gui.add_button_group(
                "A click is", (*CLICKS.values(), "point"), hint="keys: Alt = not this, Shift = also"
            )
            self._by = gui.add_button_group("It finds", KINDS)
            self._label = gui.add_text("Name", "")
            self._buttons = gui.add_button_group("Motion", ("clear", "scene", "save"))
            with gui.add_folder("Files", expand_by_default=False):
                self._load = gui.add_upload_button("Load YAML", color="gray", mime_type=".yaml,.yml")
                self._bag = gui.add_text("Bag", "", hint="folder of a recording, on this node's computer")
                page.on_press(gui.add_button("Last task of the bag", color="gray"), self.from_bag)
        self._meaning = "object"
        self._connect()

    def _connect(self) -> None:
        page = self._page
        for modifier in CLICKS:

            @page.server.scene.on_click(modifier=modifier)
            async def _(event: Any, modifier: str | None = modifier) -> None:
                origin, direction = np.array(event.ray_origin, float), np.array(event.ray_direction, float)
                meaning = CLICKS[modifier] if modifier else self._meaning
                page.edit(event.client_id, lambda: self.click(origin, direction, meaning))

        for label, key, action in (("keep", "K", page.lesson.keep), ("drop", "X", page.lesson.drop)):
            command = page.server.gui.add_command(f"Answer: {label}", hotkey=key)

            @command.on_trigger
            async def _(event: Any, action: Callable[[], None] = action) -> None:
                page.edit(event.client_id, action)

        @self._mode.on_click
        async def _(event: Any) -> None:
            meaning = str(event.target.value)
            page.edit(event.client_id, lambda: setattr(self, "_meaning", meaning))

        @self._by.on_click
        async def _(event: Any) -> None:
            by = str(event.target.value)
            page.edit(event.client_id, lambda: self.answer_by(by))

        @self._label.on_update
        async def _(event: Any) -> None:
            label = str(event.target.value)[:80]
            if event.client_id is not None and page.lesson.editor.sketch is not None:
                page.edit(event.client_id, lambda: page.lesson.editor.name(label))

        @self._buttons.on_click
        async def _(event: Any) -> None:
            what, client = str(event.target.value), event.client
            actions = {"clear": page.lesson.clear, "scene": self._from_scene, "save": lambda: self._save(client)}
            page.edit(event.client_id, actions[what])

        @self._load.on_upload
        async def _(event: Any) -> None:
            content = bytes(event.target.value.content)
            page.edit(event.client_id, lambda: self.load(content))

    def click(self, origin: np.ndarray, direction: np.ndarray, meaning: str = "object") -> None:
        """Choose, extend or restrict the object by a ray in the base frame."""
        page = self._page
        if page.view is None:
            raise InputError(f"click: {page.trouble}")
        lesson = page.lesson
        if meaning == "point":
            lesson.toggle_nearest(origin, direction)
            return
        if meaning == "object" or (lesson.clicks is None and lesson.waiting is None):
            lesson.click(page.view, pick(page.view, origin, direction, page.settings.box))
        else:  # in the frame of the first click, which fits the segmentation
            pixel = pick(lesson.newest().view, origin, direction, page.settings.box)
            self._tell_if_equal(lambda: lesson.click_more(pixel, meaning == "also"))
        self._meaning = "object"

    def answer_by(self, by: str) -> None:
        """Answer the clicks once more by another kind."""
        if self._page.lesson.clicks is None and self._page.lesson.waiting is None:
            self._page.lesson.answer_by(by)
        else:
            self._tell_if_equal(lambda: self._page.lesson.answer_by(by))

    def _tell_if_equal(self, answer: Callable[[], None]) -> None:
        answer()
        if self._page.lesson.waiting is None:
            self._page.tell("the answer is the same object")

    def _from_scene(self) -> None:
        reference = self._page.link.suggestion()
        if reference is None:
            raise InputError("scene: no simulated station suggests a motion")
        self._take(reference)

    def from_bag(self) -> None:
        """Take the last reference of a recording, which is read in a thread. Raises `InputError` without a path."""
        page, path = self._page, str(self._bag.value).strip()
        if not path:
            raise InputError("bag: empty, must be the folder of a recording")

        def read() -> None:
            try:
                reference, _ = recorded_reference(path)
            except InputError as error:
                text = str(error)
                page.jobs.submit(lambda: page.tell(text, "red"))
                return
            page.edit(page.operators.operator, lambda: self._take(reference))

        threading.Thread(target=read, name="bag", daemon=True).start()

    def load(self, content: bytes) -> None:
        """Load a reference file. Raises `InputError` if it is refused."""
        if len(content) > MOST_BYTES:
            raise InputError(f"file: {len(content)} bytes, must be at most {MOST_BYTES}")
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "reference.yaml"
            path.write_bytes(content)
            try:
                reference = load_reference(path)
            except InputError as error:
                raise InputError(str(error).replace(str(path), "file")) from None
        self._take(reference)

    def _take(self, reference: ReferenceMotion) -> None:
        T_base_cam, T_cam_frame, camera = self._page.link.camera_pose(reference.frame)
        self._page.lesson.load(reference.transformed(T_cam_frame, camera), T_base_cam)

    def _save(self, client: Any) -> None:
        """Send the reference in the base frame to the browser as a file."""
        sketch = self._page.lesson.editor.sketch
        reference = self._page.lesson.editor.reference()
        assert sketch is not None and client is not None
        in_base = reference.transformed(sketch.T_base_cam, self._page.base_frame)
        client.send_file_download("reference.yaml", reference_text(in_base, "shown by hand").encode())

    def refresh(self) -> None:
        """Say what is chosen and what waits, show it in the picture, and say what a click does."""
        lesson = self._page.lesson
        sketch = lesson.editor.sketch
        if sketch is None:
            text = "Click the object in the picture."
        elif lesson.clicks is None:
            text = f"Loaded: {sketch.waypoints.shape[1]} keypoints."
        else:
            pixels, count = int(np.count_nonzero(lesson.clicks.mask)), sketch.waypoints.shape[1]
            text = f"{pixels} pixels, {count} keypoints. Too much? Alt-click what is not part of it."
        if lesson.waiting is not None:
            pixels = int(np.count_nonzero(lesson.waiting.mask))
            text = f"Orange would be the object: {pixels} pixels. To keep it starts the waypoints anew."
        if self._meaning != "object":
            text = f"The next click is “{self._meaning}”."
        self._page.say(self._words, text)
        self._show_picture()
        label = "" if sketch is None else sketch.label
        if self._label.value != label:
            self._label.value = label

    def _show_picture(self) -> None:
        """Show the frame with the object and the answer that waits. An unchanged picture is not sent again."""
        lesson = self._page.lesson
        shown = (lesson.clicks, lesson.waiting)
        if shown[0] is not self._shown[0] or shown[1] is not self._shown[1]:
            image, self._shown = picture(*shown), shown
            if image is not None:
                self._picture.image = image
        for element, is_visible in (
            (self._picture, shown != (None, None)),
            (self._keep, lesson.waiting is not None),
            (self._drop, lesson.waiting is not None),
        ):
            if element.visible != is_visible:
                element.visible = is_visible
