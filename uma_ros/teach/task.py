"""One task: what is asked for, and from which of the sources."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np

from uma.types import ReferenceMotion
from uma_ros.teach.scene import View

SOURCES = ("reference", "instruction", "goal image", "prompt")
"""What can be asked for."""


@dataclass(frozen=True)
class Ask:
    """One task.

    Attributes:
        reference: the motion in the camera frame.
        instruction: words.
        goal: the frame of the finished scene.
        prompt: file of a stored prompt, on the policy's computer.
    """

    reference: ReferenceMotion | None = None
    instruction: str = ""
    goal: View | None = None
    prompt: str = ""

    @property
    def source(self) -> str:
        """The one of `SOURCES` that is set."""
        given = (self.reference is not None, bool(self.instruction), self.goal is not None, bool(self.prompt))
        return SOURCES[given.index(True)] if any(given) else "nothing"

    @property
    def key(self) -> str:
        """Equal for equal tasks."""
        sha = hashlib.sha256(repr((self.source, self.instruction, self.prompt)).encode())
        if self.reference is not None:
            for w in self.reference.waypoints:
                sha.update(np.round(w, 6).tobytes() + b"|")
        if self.goal is not None:
            sha.update(self.goal.rgb.tobytes() + self.goal.depth.tobytes())
        return sha.hexdigest()
