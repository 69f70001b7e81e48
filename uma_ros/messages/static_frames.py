"""Static transforms between frames, from /tf_static."""

from __future__ import annotations

import numpy as np
from tf2_msgs.msg import TFMessage

from uma.geometry.se3 import invert
from uma.types import InputError
from uma_ros.messages.convert import pose_from

MAX_FRAMES = 1000
"""Largest number of frames; a station has about twenty."""


def stripped(frame: str) -> str:
    """Return a frame's name without the leading slash of tf1, which tf2 refuses."""
    return frame.removeprefix("/")


class StaticFrames:
    """Stores static transforms and looks up chains of them."""

    def __init__(self) -> None:
        self._edges: dict[str, dict[str, np.ndarray]] = {}

    def add(self, parent: str, child: str, T_parent_child: np.ndarray) -> None:
        self._edges.setdefault(parent, {})[child] = T_parent_child
        self._edges.setdefault(child, {})[parent] = invert(T_parent_child)

    def add_message(self, msg: TFMessage) -> None:
        """Add all transforms of a message. Raises `InputError` and adds none if one of them is invalid."""
        checked = []
        for i, t in enumerate(msg.transforms[: MAX_FRAMES + 1]):
            parent, child = stripped(t.header.frame_id), stripped(t.child_frame_id)
            if not parent or not child or parent == child:
                raise InputError(
                    f"transforms[{i}]: from {parent[:80]!r} to {child[:80]!r}, must be between two named frames"
                )
            checked.append((parent, child, pose_from(t.transform, f"transform {parent[:80]} -> {child[:80]}")))
        count = len(self._edges.keys() | {frame for parent, child, _ in checked for frame in (parent, child)})
        if count > MAX_FRAMES:
            raise InputError(f"transforms: {count} frames with these, limit {MAX_FRAMES}")
        for edge in checked:
            self.add(*edge)

    def connects(self, target: str, source: str) -> bool:
        """Return whether a chain of static transforms connects the frames."""
        try:
            self.lookup(target, source)
        except InputError:
            return False
        return True

    def lookup(self, target: str, source: str) -> np.ndarray:
        """Return the ``(4, 4)`` transform ``T_target_source``.

        Raises:
            InputError: no chain of static transforms connects the frames.
        """
        target, source = stripped(target), stripped(source)
        reached, queue = {target: np.eye(4)}, [target]
        while queue:
            frame = queue.pop(0)
            if frame == source:
                return reached[frame]
            for other, T in self._edges.get(frame, {}).items():
                if other not in reached:
                    reached[other] = reached[frame] @ T
                    queue.append(other)
        known = ", ".join(sorted(reached)[:20])[:400] if len(reached) > 1 else "none"
        raise InputError(f"frame {source[:80]!r}: no static transform to {target[:80]!r}; connected frames: {known}")
