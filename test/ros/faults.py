"""What happens when something breaks while the arm moves: every fault on the live simulated graph, as a table.

    python test/ros/faults.py [--repeats 20] [--only NAME ...] [--json FILE] [--markdown]

Each time the arm is under way to a point 35 cm off when the fault begins. "at rest" is how long after that the arm moved for the last time (faster than 5 mm/s, by
the robot's own clock, looked at for four seconds); "peak" is its fastest in that time. Safe is a run whose peak is no faster than the plan with what the
filter may add, and which comes to rest where it has to. "said" is what the controller gave as its reason.
After the fault is over a new task is given, with /uma/start if it is asked for, and the arm has to move.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]
import conftest  # noqa: E402, F401  (a ROS domain of its own on this host)
import more_faults as more  # noqa: E402
import numpy as np  # noqa: E402
from fault_table import for_people, markdown  # noqa: E402
from geometry_msgs.msg import PoseStamped  # noqa: E402
from harness import TOPICS, Graph, point_task  # noqa: E402
from rich.console import Console  # noqa: E402
from rich.progress import track  # noqa: E402
from rosgraph_msgs.msg import Clock  # noqa: E402
from sensor_msgs.msg import CameraInfo, Image  # noqa: E402
from uma_ros.msg import PolicyStatus  # noqa: E402

from uma.control.safety import SafetySettings  # noqa: E402
from uma.types import RATE_HZ  # noqa: E402
from uma_ros.convert import chunk_from, chunk_to, pose_from, pose_to, seconds, stamp_from  # noqa: E402
from uma_ros.names import CABLE_IN, CAMERA_OUT  # noqa: E402

WATCH = 4.0
"""Seconds after the fault begins in which the arm is watched."""

LIMITS = SafetySettings()
FASTEST = 0.015 * RATE_HZ + LIMITS.catch_up * LIMITS.max_speed + 0.1
"""m/s: the scripted policy's plan, what the filter may add to make up for a lag, and what the arm itself may overshoot."""


class Relay:
    """Stands where the camera node stood, and can lie: `alter` maps (kind, image) to what is passed on, None = nothing."""

    def __init__(self, graph: Graph) -> None:
        node = graph.client.node
        self.alter: Callable[[str, Image], Image | None] = lambda kind, image: image
        pairs = ((Image, "rgb", TOPICS.rgb), (Image, "depth", TOPICS.depth), (CameraInfo, "camera_info", TOPICS.camera_info), (CameraInfo, "depth_info", TOPICS.depth_info))
        for kind, name, topic in pairs:
            out = node.create_publisher(kind, topic, CAMERA_OUT)

            def hear(msg, name=name, out=out) -> None:
                told = self.alter(name, msg) if name in ("rgb", "depth") else msg
                if told is not None:
                    out.publish(told)

            node.create_subscription(kind, f"{TOPICS.sim_camera}/{name}", hear, CABLE_IN)


@contextmanager
def killed(graph: Graph, name: str) -> Iterator[None]:
    graph.kill(name)
    yield
    graph.start(name)


@contextmanager
def stopped(graph: Graph, name: str) -> Iterator[None]:
    pid = graph.supervisor.processes[name].pid
    os.killpg(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.killpg(pid, signal.SIGCONT)


@contextmanager
def lying(graph: Graph, alter: Callable[[str, Image], Image | None]) -> Iterator[None]:
    graph.relay.alter = alter
    yield
    graph.relay.alter = lambda kind, image: image


@contextmanager
def frozen(graph: Graph) -> Iterator[None]:
    """The same image again and again under new stamps."""
    first: dict[str, Image] = {}

    def again(kind: str, image: Image) -> Image:
        kept = first.setdefault(kind, image)
        return Image(header=image.header, height=kept.height, width=kept.width, encoding=kept.encoding, is_bigendian=kept.is_bigendian, step=kept.step, data=kept.data)

    with lying(graph, again):
        yield


def no_depth(kind: str, image: Image) -> Image:
    """Depth that is invalid everywhere."""
    if kind == "depth":
        image.data = np.full(image.height * image.width, np.nan, np.float32).tobytes()
    return image


@contextmanager
def bad_chunk(graph: Graph, change: Callable) -> Iterator[None]:
    """One bad chunk among good ones, before the extrinsics node."""
    msg = chunk_to(chunk_from(graph.client.chunks[-1]))
    change(msg)
    graph.client.out["chunk"].publish(msg)
    yield


@contextmanager
def time_turned_back(graph: Graph) -> Iterator[None]:
    """A second clock says, once, that it is ten seconds ago."""
    c = graph.client
    out = c.node.create_publisher(Clock, "/clock", 1)
    c.wait(lambda: out.get_subscription_count() > 3, 10.0, "listeners to the clock")
    out.publish(Clock(clock=stamp_from(c.ros_time() - 10.0)))
    yield
    c.node.destroy_publisher(out)


@contextmanager
def two_publishers(graph: Graph) -> Iterator[None]:
    """Another node sends targets: where the arm is, so that it fights for the arm without pulling it away."""
    c = graph.client
    with c.rival() as rival:

        def push() -> None:
            msg = PoseStamped(pose=pose_to(c.ee()))
            msg.header.frame_id, msg.header.stamp = "fr3_link0", stamp_from(c.ros_time())
            rival.publish(msg)

        timer = c.node.create_timer(0.02, push)
        yield
        c.node.destroy_timer(timer)


@contextmanager
def slow(graph: Graph) -> Iterator[None]:
    """A chunk takes a second."""
    Path(os.environ["UMA_TEST_SLOW"]).touch()
    yield
    Path(os.environ["UMA_TEST_SLOW"]).unlink()


def _nan(msg) -> None:
    msg.poses[3].position.x = float("nan")


def _past(msg) -> None:
    msg.header.stamp = stamp_from(seconds(msg.header.stamp) - 5.0)


@dataclass(frozen=True)
class Fault:
    """What breaks, and what has to come of it.

    Attributes:
        make: the fault, as a context.
        must_rest: the arm has to come to rest.
        relayed: the tester stands where the camera node stood.
        absent: nodes that are not there from the start; then nothing is under way either, and the arm must not move at all.
        late: nodes that ``prepare`` starts.
        changes: parameters over those of the graph, by node.
        record: a bag is recorded.
        prepare: called before anything begins.
        told: what somebody else than the controller had to say; waits for it, and raises `AssertionError` if it does not come.
        forgets: it is over when it is over. A killed controller's publisher of targets is counted for another 20 s.
    """

    make: Callable[[Graph], AbstractContextManager] = lambda graph: nullcontext()
    must_rest: bool = True
    relayed: bool = False
    absent: tuple[str, ...] = ()
    late: tuple[str, ...] = ()
    changes: dict[str, dict] = field(default_factory=dict)
    record: bool = False
    prepare: Callable[[Graph], None] = lambda graph: None
    told: Callable[[Graph], str] | None = None
    forgets: bool = True

    @property
    def is_plain(self) -> bool:
        """Whether it happens on the graph as it is, and leaves one on which the next fault may happen."""
        return self.forgets and not (self.relayed or self.absent or self.late or self.changes or self.record or self.prepare is not Fault.prepare)


NODES = ("policy", "camera", "extrinsics", "controller", "station")
FAULTS: dict[str, Fault] = {
    "nothing (to compare with)": Fault(must_rest=False),
    **{f"SIGKILL {name}": Fault(lambda g, name=name: killed(g, name), forgets=name != "controller") for name in NODES},
    **{f"SIGSTOP {name}": Fault(lambda g, name=name: stopped(g, name)) for name in NODES},
    "camera stalls": Fault(lambda g: lying(g, lambda kind, image: None), relayed=True),
    "camera frozen, new stamps": Fault(frozen, relayed=True),
    "depth all invalid": Fault(lambda g: lying(g, no_depth), relayed=True),
    "policy takes 1 s": Fault(slow, must_rest=False),
    "chunk with NaN": Fault(lambda g: bad_chunk(g, _nan), must_rest=False),
    "chunk from the past": Fault(lambda g: bad_chunk(g, _past), must_rest=False),
    "clock jumps back": Fault(time_turned_back, must_rest=False),
    "two publishers of targets": Fault(two_publishers),
    "link loses 30 %": Fault(more.bad_link, must_rest=False, relayed=True, changes={"policy": {"topics.action_chunk": more.FAR_CHUNKS}}, prepare=more.far_policy, told=more.something_was_lost),
    "recorder's disk full": Fault(more.disk_full, must_rest=False, record=True, told=more.bag_stays_whole),
    "checkpoint damaged": Fault(lambda g: more.checkpoint_swapped(g, True), told=more.damage_is_said),
    "checkpoint is another": Fault(lambda g: more.checkpoint_swapped(g, False), told=more.other_checkpoint_is_said),
    "extrinsics never there": Fault(lambda g: more.started_late(g, "extrinsics"), absent=("extrinsics",), told=more.missing_calibration_is_said),
    "calibration 60 days old": Fault(must_rest=False, late=("extrinsics",), prepare=more.calibration_ages, told=more.age_is_said),
    "gripper never answers": Fault(more.gripper_mute, changes={"controller": {"topics.gripper": more.MUTE_GRIPPER}}, prepare=more.test_gripper, told=more.mute_gripper_is_said),
    "robot in reflex": Fault(more.reflex, prepare=more.watched_arm, told=more.reflex_is_said),
}


class Bench:
    """Runs one fault after the other: those that leave a whole graph behind on one and the same, the others on one of their own."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.number, self.graph = folder, 0, None

    def run(self, name: str) -> dict:
        fault, kept = FAULTS[name], None
        if fault.is_plain:
            kept, self.graph = self.graph, None
        else:
            self.close()
        self.number += 1
        graph = kept or started(fault, self.folder / f"{self.number}")
        try:
            try:
                row = watched(fault, graph)
            except AssertionError as error:  # something that has to come before or after the fault did not
                row = {"rest_s": float("nan"), "peak": float("nan"), "must_rest": fault.must_rest, "said": f"the run failed: {error}", "told": "", "refused": "", "alive": sorted(graph.alive())}
                row |= {"is_safe": False, "recovered": False}
            if fault.is_plain and row["is_safe"] and row["recovered"]:
                self.graph, graph = graph, None
            return row
        finally:
            if graph is not None:
                graph.close()

    def close(self) -> None:
        if self.graph is not None:
            self.graph.close()
            self.graph = None


def started(fault: Fault, folder: Path) -> Graph:
    """A graph on which the fault can happen, its arm at work."""
    without = (*fault.absent, *fault.late, *(("camera",) if fault.relayed else ()))
    graph = Graph(folder, without=without, changes=fault.changes, record=str(folder / "bag") if fault.record else "")
    c = graph.client
    try:
        if fault.relayed:
            graph.relay = Relay(graph)
        fault.prepare(graph)
        if fault.absent:
            c.wait(lambda: {"policy", "controller"} <= set(c.status) and c.poses and c.scene, 90.0, "the other nodes")
        else:
            graph.begin()
    except BaseException:
        graph.close()
        raise
    return graph


def watched(fault: Fault, graph: Graph) -> dict:
    """The fault while the arm is under way, and what came of it."""
    c = graph.client

    def go(*way: float) -> None:
        c.send(point_task(c.ee()[:3, 3] + way))

    # Upward and away from the scene, to whichever side is further from where the arm stands.
    there = max((np.array([0.5, y, 0.55]) - c.ee()[:3, 3] for y in (-0.3, 0.25)), key=np.linalg.norm)
    way, start = there / np.linalg.norm(there), c.ee()[:3, 3]
    go(*(0.35 * way))
    if not fault.absent:  # it may still be on the way that it was last sent
        c.wait(lambda: (c.ee()[:3, 3] - start) @ way > 0.04, 30.0, "motion")
    seen, at = len(c.history), len(c.poses)
    began = c.poses[-1][0]
    with fault.make(graph):
        end = time.monotonic() + WATCH
        while time.monotonic() < end:
            c.spin(0.05)
        said = [m.reason for m in c.history[seen:] if m.node == "controller" and m.state in (PolicyStatus.HOLD, PolicyStatus.IDLE, PolicyStatus.FAULT)]
        refused = [m.refused for m in c.history[seen:] if m.refused]
        told, was_told = "", True
        try:
            told = fault.told(graph) if fault.told else ""
        except AssertionError as error:
            told, was_told = f"not said: {error}", False
        times, speed = _speeds(c.poses[at - 1 :])
    moving = times[speed > 0.005]
    row = {
        "rest_s": float(moving[-1] - began) if len(moving) else 0.0, "peak": float(speed.max(initial=0.0)), "must_rest": fault.must_rest,
        "said": said[-1] if said else "", "told": told, "refused": refused[-1] if refused else "", "alive": sorted(graph.alive()),
    }  # fmt: skip
    fastest = 0.02 if fault.absent else FASTEST
    row["is_safe"] = bool(was_told and row["peak"] <= fastest and (not fault.must_rest or row["rest_s"] < WATCH - 0.3))
    row["recovered"] = _recovers(graph, go)
    if not row["recovered"]:
        row["then"] = {name: f"{msg.state} {msg.reason}" for name, msg in c.status.items()}
    return row


def _speeds(poses: list) -> tuple[np.ndarray, np.ndarray]:
    """Times and speeds in m/s of the flange, over 50 ms."""
    if len(poses) < 7:
        return np.zeros(0), np.zeros(0)
    t = np.array([p[0] for p in poses])
    x = np.stack([pose_from(m.pose, "pose")[:3, 3] for _, m in poses])
    return t[5:], np.linalg.norm(x[5:] - x[:-5], axis=1) / np.maximum(t[5:] - t[:-5], 1e-3)


def _recovers(graph: Graph, go: Callable[..., None]) -> bool:
    """A new task moves the arm again, after /uma/recover and /uma/start where the controller asks for them."""
    c = graph.client
    try:
        heard = len(c.poses)
        c.wait(lambda: len(c.poses) > heard + 50, 60.0, "the robot's state")  # a station that was started again has put the arm elsewhere
        c.wait(lambda: c.state("policy") in (PolicyStatus.READY, PolicyStatus.RUNNING, PolicyStatus.HOLD), 60.0, "the policy")
        c.spin(1.0)
        if c.state("controller") == PolicyStatus.FAULT:
            c.call("/uma/recover")
        start = c.ee()[:3, 3]
        for _ in range(7):
            c.call("/uma/start")
            go(0.0, 0.0, -0.12)
            end = time.monotonic() + 6.0
            while time.monotonic() < end:
                c.spin(0.1)
                if np.linalg.norm(c.ee()[:3, 3] - start) > 0.05:
                    return True
    except AssertionError:
        pass
    return False


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--only", nargs="*", default=list(FAULTS), choices=list(FAULTS), metavar="NAME")
    parser.add_argument("--json", default="", help="what came of every run; the same command goes on where it was cut off")
    parser.add_argument("--markdown", action="store_true", help="the table as it stands in test/ros/README.md")
    args = parser.parse_args()
    console, rows = Console(width=200), {}
    with tempfile.TemporaryDirectory() as folder:
        os.environ |= {"UMA_TEST_SLOW": str(Path(folder) / "slow"), "UMA_TEST_GRIP": str(Path(folder) / "grip")}
        if args.json and Path(args.json).exists():
            rows = json.loads(Path(args.json).read_text())
        # Round by round, so that a run that is cut off has seen every fault about as often.
        jobs = [name for i in range(args.repeats) for name in args.only if len(rows.get(name, ())) <= i]
        bench = Bench(Path(folder))
        try:
            for name in track(jobs, "faults", console=Console(stderr=True)):
                Path(os.environ["UMA_TEST_SLOW"]).unlink(missing_ok=True)
                rows.setdefault(name, []).append(bench.run(name))
                if args.json:
                    part = Path(args.json + ".part")
                    part.write_text(json.dumps(rows, indent=2) + "\n")
                    os.replace(part, args.json)
        finally:
            bench.close()
    rows = {name: rows[name] for name in args.only if name in rows}
    if args.markdown:
        print(markdown(rows))
    else:
        console.print(for_people(rows, f"seed 3, a scripted policy; the peak must not exceed {FASTEST:.2f} m/s"))
    return int(any(not r["is_safe"] for runs in rows.values() for r in runs))


if __name__ == "__main__":
    sys.exit(main())
