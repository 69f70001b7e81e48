"""A task as a JSON file, for programs that run beside the policy."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np

from uma.types import InputError, ReferenceMotion


def write_task(path: str | Path, reference: ReferenceMotion | None, instruction: str = "") -> None:
    """Write a task for `read_task`: a reference motion in the camera frame, or an instruction."""
    motion = reference and {
        "waypoints": [w.tolist() for w in reference.waypoints],
        "phase": [p.tolist() for p in reference.phase],
        "is_valid": [v.tolist() for v in reference.is_valid],
        "frame": reference.frame,
    }
    part = Path(path).with_suffix(".part")
    part.write_text(json.dumps({"reference": motion, "instruction": instruction}))
    os.replace(part, path)


def read_task(path: str | Path) -> tuple[ReferenceMotion | None, str]:
    """Read a task. Raises `InputError` if it is none."""
    try:
        data = json.loads(Path(path).read_text())
        motion, instruction = data["reference"], str(data["instruction"])
        reference = motion and ReferenceMotion(
            tuple(np.array(w, float) for w in motion["waypoints"]),
            tuple(np.array(p, float) for p in motion["phase"]),
            tuple(np.array(v, bool) for v in motion["is_valid"]),
            str(motion["frame"]),
        )
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"task: {path}: {error}") from None
    if (reference is None) == (not instruction):
        raise InputError(f"task: {path}: must have either a reference or an instruction")
    return reference, instruction
