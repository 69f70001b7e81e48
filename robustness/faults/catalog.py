"""Catalogue of the faults and the required reaction to each."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field

from harness import Graph

from robustness.faults import nodes, system


@dataclass(frozen=True)
class Fault:
    """A fault and the required reaction.

    Attributes:
        make: the fault, as a context.
        must_rest: the arm must come to rest.
        relayed: the test's relay replaces the camera node.
        absent: nodes that are missing from the start; the arm then must not move at all.
        late: nodes that ``prepare`` starts.
        changes: parameters that override the graph's, by node.
        record: a bag is recorded.
        prepare: called before the graph begins.
        is_ready: condition for the start of the fault, with the arm moving.
        told: waits for the report of another node than the controller and returns it. Raises `AssertionError` without
            one.
        forgets: the graph is as before when the fault ends. A killed controller's publisher counts for another 20 s.
    """

    make: Callable[[Graph], AbstractContextManager] = lambda graph: nullcontext()
    must_rest: bool = True
    relayed: bool = False
    absent: tuple[str, ...] = ()
    late: tuple[str, ...] = ()
    changes: dict[str, dict] = field(default_factory=dict)
    record: bool = False
    prepare: Callable[[Graph], None] = lambda graph: None
    is_ready: Callable[[Graph], bool] = lambda graph: True
    told: Callable[[Graph], str] | None = None
    forgets: bool = True

    @property
    def is_plain(self) -> bool:
        """Whether the fault needs no special graph and leaves one for the next fault."""
        return self.forgets and not (
            self.relayed or self.absent or self.late or self.changes or self.record or self.prepare is not Fault.prepare
        )


NODES = ("policy", "camera", "extrinsics", "controller", "station")
FAULTS: dict[str, Fault] = {
    "nothing (to compare with)": Fault(must_rest=False),
    **{
        f"SIGKILL {name}": Fault(lambda g, name=name: nodes.killed(g, name), forgets=name != "controller")
        for name in NODES
    },
    **{f"SIGSTOP {name}": Fault(lambda g, name=name: nodes.stopped(g, name)) for name in NODES},
    "camera stalls": Fault(lambda g: nodes.lying(g, lambda kind, image: None), relayed=True),
    "camera frozen, new stamps": Fault(nodes.frozen, relayed=True),
    "depth all invalid": Fault(lambda g: nodes.lying(g, nodes.no_depth), relayed=True),
    "policy takes 1 s": Fault(nodes.slow, must_rest=False),
    "chunk with NaN": Fault(lambda g: nodes.bad_chunk(g, nodes.with_nan), must_rest=False),
    "chunk from the past": Fault(lambda g: nodes.bad_chunk(g, nodes.from_the_past), must_rest=False),
    "clock jumps back": Fault(nodes.time_turned_back, must_rest=False),
    "two publishers of targets": Fault(nodes.two_publishers),
    "link loses 30 %": Fault(
        system.bad_link,
        must_rest=False,
        relayed=True,
        changes={"policy": {"topics.action_chunk": system.FAR_CHUNKS}},
        prepare=system.far_policy,
        told=system.something_was_lost,
    ),
    "recorder's disk full": Fault(
        system.disk_full, must_rest=False, record=True, is_ready=system.bag_has_grown, told=system.bag_stays_whole
    ),
    "SIGKILL recorder": Fault(
        system.recorder_killed,
        must_rest=False,
        record=True,
        is_ready=system.bag_has_grown,
        told=system.bag_is_recovered,
    ),
    "SIGSTOP recorder": Fault(system.recorder_stopped, must_rest=False, record=True, is_ready=system.bag_has_grown),
    "checkpoint damaged": Fault(lambda g: system.checkpoint_swapped(g, True), told=system.damage_is_reported),
    "checkpoint is another": Fault(
        lambda g: system.checkpoint_swapped(g, False), told=system.other_checkpoint_is_reported
    ),
    "extrinsics never there": Fault(
        lambda g: system.started_late(g, "extrinsics"),
        absent=("extrinsics",),
        told=system.missing_calibration_is_reported,
    ),
    "calibration 60 days old": Fault(
        must_rest=False, late=("extrinsics",), prepare=system.calibration_ages, told=system.age_is_reported
    ),
    "gripper never answers": Fault(
        system.gripper_mute,
        changes={"controller": {"topics.gripper": system.MUTE_GRIPPER}},
        prepare=system.test_gripper,
        told=system.mute_gripper_is_reported,
    ),
    "robot in reflex": Fault(system.reflex, prepare=system.watched_arm, told=system.reflex_is_reported),
}
