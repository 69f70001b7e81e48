"""Contact parameters for stable grasps, in one place.

With MuJoCo's default contacts, the pads sink into a utensil, and it creeps out of the grasp. Stiff contacts on the
object and an elliptic cone with a high ``impratio`` hold it. More grip force would only deepen the penetration.
"""

from __future__ import annotations

OBJECT = dict(
    contype=2,
    conaffinity=7,
    condim=4,
    priority=1,
    friction=[1.2, 0.01, 0.0001],
    solref=[0.004, 1],
    solimp=[0.98, 0.995, 0.0005, 0.5, 2],
)
"""The utensil; its parameters override the pads'."""

WORLD = dict(
    contype=1,
    conaffinity=6,
    condim=4,
    priority=2,
    friction=[0.35, 0.005, 0.0001],
    solref=[0.004, 1],
    solimp=[0.95, 0.99, 0.001, 0.5, 2],
)
"""Table and holders; their parameters override the utensil's, so that it slides down a wall."""

SCENERY = dict(contype=0, conaffinity=0)
"""Visible, without contacts."""

SCRAP = dict(
    contype=8,
    conaffinity=15,
    condim=4,
    priority=1,
    friction=[0.6, 0.01, 0.001],
    solref=[0.004, 1],
    solimp=[0.95, 0.99, 0.001, 0.5, 2],
)
"""Paper debris: contacts with world, tools, robot and other scraps."""

PAN_FLOOR = dict(
    contype=16,
    conaffinity=12,
    condim=4,
    priority=2,
    friction=[0.35, 0.005, 0.0001],
    solref=[0.004, 1],
    solimp=[0.95, 0.99, 0.001, 0.5, 2],
)
"""Floor and lip of a dustpan: they carry scraps and stop the robot, but not a brush.

The bristles of a real brush would bend over them.
"""

PAN_WALL = dict(WORLD, conaffinity=14)
"""Walls of a dustpan: they stop tools, robot and scraps."""

SOFT = dict(
    contype=2,
    conaffinity=5,
    condim=4,
    priority=1,
    friction=[1.2, 0.02, 0.0001],
    solref=[0.004, 1],
    solimp=[0.98, 0.995, 0.0005, 0.5, 2],
)
"""A vertex of a cloth or a link of a cable: contacts with world and robot, not with its own kind."""
