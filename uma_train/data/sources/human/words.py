"""Names of classes and tasks of HOI4D, as its definitions give them."""

from __future__ import annotations

from collections.abc import Sequence

DRAWER = ("put it in the drawer", "take it out of the drawer")
MOVE = "pick and place"
TASKS: dict[int, tuple[str, tuple[str, ...]]] = {
    1: ("toy car", (MOVE, "push", *DRAWER)),
    2: ("mug", (MOVE, *DRAWER, "fill with water by a kettle", "pour water into another mug", MOVE)),
    3: ("laptop", (MOVE, "open and close the display")),
    4: (
        "storage furniture",
        (
            "open and close the drawer",
            "open and close the door",
            "put the drink in the door",
            "put the drink in the drawer",
        ),
    ),
    5: ("bottle", (MOVE, "pour all the water into a mug", *DRAWER, "reposition", MOVE)),
    6: ("safe", ("open and close the door", "put something in it", "take something out of it")),
    7: ("bowl", (MOVE, *DRAWER, "take the ball out", "put the ball in", MOVE)),
    8: ("bucket", (MOVE, "pour water into another bucket")),
    9: ("scissors", (MOVE, "cut something")),
    11: ("pliers", (MOVE, *DRAWER[::-1], "clamp something")),
    12: ("kettle", (MOVE, "pour water into a mug")),
    13: ("knife", (MOVE, *DRAWER[::-1], "cut an apple")),
    14: ("trash can", ("open and close", "throw something in it")),
    17: ("lamp", (MOVE, "turn and fold", "turn on and turn off")),
    18: ("stapler", (MOVE, "bind the paper")),
    20: (
        "chair",
        ("pick and place to the original position",) * 2 + ("pick and place to a new position",) * 2,
    ),
}
"""Class -> its name, and its tasks."""
HANDS = {8: (2, 6), 17: (2, 6), 20: (2, 3)}
"""Class -> labels of hands in the masks; 2 in all others."""


def hoi4d_text(parts: Sequence[str]) -> str:
    """Return the instruction of a sequence from the parts of its path; "" if it is not known."""
    name, tasks = TASKS.get(_number(parts, "C"), ("", ()))
    task = _number(parts, "T")
    return f"{name}: {tasks[task - 1]}" if 0 < task <= len(tasks) else ""


def hand_labels(parts: Sequence[str]) -> tuple[int, ...]:
    """Return the labels of hands in the masks of a sequence."""
    return HANDS.get(_number(parts, "C"), (2,))


def _number(parts: Sequence[str], letter: str) -> int:
    """Return the number of the last part that is a letter and digits; 0 without one."""
    found = [part for part in parts if part[:1] == letter and part[1:].isdigit()]
    return int(found[-1][1:]) if found else 0
