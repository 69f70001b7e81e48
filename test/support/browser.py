"""A page of the teach node in a real Chromium, driven as a person drives it.

The software renderer draws a few frames a second. Everything here therefore polls from Python, and no click or drag
begins before its pixel stays where it is.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path

import numpy as np

FLAGS = ["--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
PACKAGES = ("chromium", "fonts-dejavu-core")
PIXEL = """p => {
  const m = window.__viserMutable, cloud = m && m.nodeRefFromName && m.nodeRefFromName['/cloud'];
  if (!cloud || !m.camera || !m.canvas) return null;
  cloud.updateWorldMatrix(true, false); m.camera.updateMatrixWorld();
  const v = m.camera.position.clone().set(p[0], p[1], p[2]).applyMatrix4(cloud.matrixWorld).project(m.camera);
  const r = m.canvas.getBoundingClientRect();
  return [r.left + (v.x + 1) / 2 * r.width, r.top + (1 - v.y) / 2 * r.height, v.z];
}"""
"""Pixel of a place in the base frame, and its depth."""

POINTS = """() => {
  const m = window.__viserMutable, cloud = m && m.nodeRefFromName && m.nodeRefFromName['/cloud'];
  let count = 0;
  if (cloud) cloud.traverse(o => {
    const p = o.geometry && o.geometry.attributes.position;
    if (p) count = Math.max(count, p.count);
  });
  return count;
}"""
"""Number of points of the cloud that the page draws."""

TIP = """([name, axis]) => {
  const m = window.__viserMutable, node = m && m.nodeRefFromName && m.nodeRefFromName[name];
  const cloud = m && m.nodeRefFromName && m.nodeRefFromName['/cloud'];
  if (!node || !cloud) return null;
  const tips = [];
  node.parent.traverse(o => { if (o.isMesh && o.geometry && o.geometry.type.startsWith('Cone')) tips.push(o); });
  if (tips.length < 3) return null;
  tips[axis].updateWorldMatrix(true, false); cloud.updateWorldMatrix(true, false);
  const v = m.camera.position.clone().setFromMatrixPosition(tips[axis].matrixWorld);
  v.applyMatrix4(cloud.matrixWorld.clone().invert());
  return [v.x, v.y, v.z];
}"""
"""Place of an arrow's tip in the base frame."""


def chromium() -> str:
    """Return the path of Chromium; empty without one. As root it is installed with apt-get first."""
    names = ("chromium", "chromium-browser", "google-chrome")
    found = next(filter(None, map(shutil.which, names)), "")
    if found or os.geteuid() or not shutil.which("apt-get"):
        return found
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for words in (["update", "-qq"], ["install", "-y", "-qq", "--no-install-recommends", *PACKAGES]):
        try:
            subprocess.run(["apt-get", *words], env=environment, capture_output=True, timeout=300)
        except subprocess.TimeoutExpired:
            return ""
    return next(filter(None, map(shutil.which, names)), "")


class Browser:
    """One page.

    Args:
        page: of playwright.
        has_touch: whether clicks are taps and drags are touches.
    """

    def __init__(self, page, has_touch: bool = False) -> None:
        self.page, self.has_touch = page, has_touch
        self._touch = page.context.new_cdp_session(page) if has_touch else None

    def wait(self, condition: Callable[[], object], what: str, seconds: float = 60.0):
        """Poll until ``condition`` returns something true, and return it."""
        end = time.monotonic() + seconds
        while not (found := condition()):
            if time.monotonic() > end:
                raise AssertionError(f"{what} did not come within {seconds:g} s; the page says: {self.text()[-1500:]}")
            time.sleep(0.1)
        return found

    def text(self) -> str:
        return self.page.evaluate("document.body ? document.body.innerText : ''")

    def says(self, words: str, seconds: float = 60.0) -> None:
        """Wait until the page says some words."""
        self.wait(lambda: words in self.text(), repr(words), seconds)

    def press(self, label: str, seconds: float = 30.0) -> None:
        """Press the button with exactly this label."""
        code = "l => { const b = [...document.querySelectorAll('button')].find(b => b.textContent.trim() === l); "
        code += "if (b) b.click(); return !!b; }"
        self.wait(lambda: self.page.evaluate(code, label), f"the button {label!r}", seconds)

    def open(self, url: str) -> None:
        """Open the page and wait for its scene and for control."""
        self.page.goto(url + "&fixedDpr=0.5", wait_until="commit", timeout=60_000)
        self.wait(lambda: self.page.evaluate(PIXEL, [0.5, 0.0, 0.0]), "the scene", 120.0)
        self.wait(lambda: self.page.evaluate(POINTS) > 100, "the cloud", 60.0)  # people click on what they see
        code = "() => document.querySelectorAll('.mantine-Notification-closeButton').forEach(b => b.click())"
        self.page.evaluate(code)

    def still(self, code: str, argument: object, seconds: float = 60.0) -> np.ndarray:
        """Return the result of a script once four readings in a row, 0.25 s apart, are equal."""
        readings: list[np.ndarray] = []

        def settled() -> bool:
            found = self.page.evaluate(code, argument)
            if found is None:
                readings.clear()
            else:
                readings.append(np.array(found, float))
            last = readings[-4:]
            if len(last) == 4 and max(np.abs(r - last[0]).max() for r in last) < 0.5:
                return True
            time.sleep(0.15)
            return False

        self.wait(settled, "a pixel that stays", seconds)
        return readings[-1]

    def pixel(self, place) -> tuple[float, float]:
        """Return the pixel of a place in the base frame, once it stays."""
        x, y, _ = self.still(PIXEL, [float(v) for v in place])
        return float(x), float(y)

    def click(self, place) -> None:
        """Click or tap a place in the base frame."""
        x, y = self.pixel(place)
        (self.page.touchscreen.tap if self.has_touch else self.page.mouse.click)(x, y)

    def drag(self, axis: int, metres: float) -> None:
        """Drag an arrow of the gizmo by its tip along its axis: 0, 1, 2 for x, y, z."""
        self.still(PIXEL, [0.5, 0.0, 0.0])
        tip = self.still(TIP, ["/gizmo", axis])
        start = self.pixel(tip)
        goal = tip.copy()
        goal[axis] += metres
        end = self.pixel(goal)
        way = [tuple(np.add(start, np.subtract(end, start) * s)) for s in np.linspace(0.0, 1.0, 6)]
        self._touch_along(way) if self.has_touch else self._move_along(way)

    def _move_along(self, way) -> None:
        mouse = self.page.mouse
        mouse.move(*way[0])
        self._frames()
        mouse.down()
        for point in way[1:]:
            mouse.move(*point)
            self._frames()
        mouse.up()

    def _touch_along(self, way) -> None:
        def send(kind: str, points: list) -> None:
            listed = [{"x": float(x), "y": float(y), "id": 1} for x, y in points]
            self._touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": listed})
            self._frames()

        send("touchStart", [way[0]])
        for point in way[1:]:
            send("touchMove", [point])
        send("touchEnd", [])

    def _frames(self, count: int = 2) -> None:
        """Wait until the page has drawn some frames."""
        code = "n => { window.__frames = 0; const f = () => { if (++window.__frames < n) requestAnimationFrame(f); }; "
        self.page.evaluate(code + "requestAnimationFrame(f); }", count)
        self.wait(lambda: self.page.evaluate("window.__frames") >= count, "frames", 30.0)

    def picture(self, path: Path) -> None:
        """Save a picture."""
        self.page.screenshot(path=str(path), timeout=120_000)


@contextmanager
def chrome(path: str):
    """Start a Chromium for any number of pages, and end it in any case."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS, timeout=120_000)
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def opened(chrome, url: str, has_touch: bool = False, size: tuple[int, int] = (1000, 640)):
    """Open a page of a Chromium, with cookies and a storage of its own."""
    context = chrome.new_context(viewport={"width": size[0], "height": size[1]}, has_touch=has_touch)
    try:
        page = context.new_page()
        page.set_default_timeout(60_000)
        found = Browser(page, has_touch)
        found.open(url)
        yield found
    finally:
        context.close()
