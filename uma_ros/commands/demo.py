"""`uma demo`: run one seeded task on the simulated station, headless, with a progress line and a report."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import rclpy
import yaml
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import PointCloud2
from std_msgs.msg import String
from std_srvs.srv import Trigger
from tf2_msgs.msg import TFMessage

from uma.control.session import State
from uma.geometry.se3 import apply
from uma.settings import from_words, setting
from uma.types import InputError
from uma_ros.commands.reference import save_reference
from uma_ros.deployment.graph import PARAMETERS, TASKS, NodeSpec, Options
from uma_ros.deployment.preparation import PARAMETERS_OF_RUN, located, missing_module, prepared, write_parameters
from uma_ros.deployment.supervisor import Supervisor
from uma_ros.messages.convert import reference_from, seconds
from uma_ros.messages.static_frames import StaticFrames
from uma_ros.msg import ActionChunk, PolicyStatus, ReferenceMotion
from uma_ros.runtime.names import check_namespace, full_name
from uma_ros.runtime.resources import new_folder
from uma_ros.runtime.robot import ROBOT, choose_robot, robot
from uma_ros.runtime.status import newly_refused
from uma_ros.runtime.topics import CAMERA_OUT, COMMAND, LATCHED, STATIC_TF_IN, STATUS, TASK_IN, Topics


class Watcher:
    """Client of the running graph in a namespace: receives its status, sends the task."""

    def __init__(self, namespace: str = "") -> None:
        topics = Topics().in_namespace(namespace)
        self.node = rclpy.create_node("uma_demo")
        self.status: dict[str, PolicyStatus] = {}
        self.reference: ReferenceMotion | None = None
        self.active: ReferenceMotion | None = None
        self.outcome: dict[str, Any] = {}
        self.refusal = ""  # the policy's refusal of the task
        self.latency_ms: dict[int, float] = {}  # sequence of a chunk -> latency that the policy reports
        self.chunk_age_ms: list[float] = []  # simulated time from an image to its chunk in the base frame
        self.points: np.ndarray | None = None
        self.time = 0.0
        self.frames = StaticFrames()
        subscribe = self.node.create_subscription
        subscribe(PolicyStatus, topics.status, self._on_status, STATUS)
        subscribe(ReferenceMotion, topics.sim_reference, lambda m: setattr(self, "reference", m), LATCHED)
        subscribe(ReferenceMotion, topics.active_reference, lambda m: setattr(self, "active", m), LATCHED)
        subscribe(String, topics.sim_outcome, lambda m: setattr(self, "outcome", yaml.safe_load(m.data)), LATCHED)
        subscribe(
            Clock, full_name("clock", namespace), lambda m: setattr(self, "_clock", seconds(m.clock)), 1
        )  # before the chunks, because the executor runs pending callbacks in this order
        subscribe(
            ActionChunk,
            topics.action_chunk_base,
            lambda m: self.chunk_age_ms.append(1e3 * (self._clock - seconds(m.header.stamp))),
            COMMAND,
        )
        subscribe(PointCloud2, topics.sim_object, self._on_points, CAMERA_OUT)
        subscribe(TFMessage, topics.tf_static, self.frames.add_message, STATIC_TF_IN)
        self._task = self.node.create_publisher(ReferenceMotion, topics.reference_motion, TASK_IN)
        self.task_topic = topics.reference_motion
        self._stop = self.node.create_client(Trigger, full_name("uma/stop", namespace))
        self._index: np.ndarray | None = None
        self._clock = float("nan")

    def _on_status(self, msg: PolicyStatus) -> None:
        before = self.status.get(msg.node)
        if msg.node == "policy" and before is not None and newly_refused(msg, before.num_refused, self.task_topic):
            self.refusal = msg.refused
        self.status[msg.node] = msg
        if "total" in msg.stages:
            self.latency_ms[msg.sequence] = msg.latency_ms[msg.stages.index("total")]

    def _on_points(self, msg: PointCloud2) -> None:
        self.points, self.time = np.frombuffer(msg.data, "<f4").reshape(-1, 3).astype(float), seconds(msg.header.stamp)

    def send_task(self) -> None:
        self._task.publish(self.reference)

    def task_has_subscriber(self) -> bool:
        return self._task.get_subscription_count() > 0

    def stop(self) -> None:
        if self._stop.service_is_ready():
            rclpy.spin_until_future_complete(self.node, self._stop.call_async(Trigger.Request()), timeout_sec=2.0)

    def distance(self) -> float:
        """Return the mean distance of the keypoints to their last waypoints, metres; NaN before the task."""
        if (
            self.active is None
            or not self.active.keypoints
            or self.points is None
            or not self.frames.connects(robot().base_frame, self.active.header.frame_id)
        ):
            return float("nan")
        T = self.frames.lookup(robot().base_frame, self.active.header.frame_id)
        waypoints = [apply(T, w) for w in reference_from(self.active).waypoints]
        if self._index is None:
            self._index = np.array([int(np.argmin(np.linalg.norm(self.points - w[0], axis=1))) for w in waypoints])
        return float(np.linalg.norm(self.points[self._index] - np.stack([w[-1] for w in waypoints]), axis=1).mean())

    def line(self, began: float) -> str:
        """Return the progress line.

        Args:
            began: simulated time of the task's start, s; 0 before it.
        """
        policy, controller = self.status.get("policy"), self.status.get("controller")
        latency = next(reversed(self.latency_ms.values()), float("nan"))
        states = (
            f"policy {State(policy.state).name if policy else '...':<8}controller "
            f"{State(controller.state).name if controller else '...':<8}"
        )
        if not began:
            return f"waiting: {states} {policy.reason[:90] if policy else ''}"
        return (
            f"{self.time - began:5.1f} s  {states} chunk {policy.sequence if policy else 0:3d}  latency "
            f"{latency:4.0f} ms  "
            f"object {self.distance() * 100:5.1f} cm from the reference's end  {self.outcome.get('reason', '')}"
        )


def _show() -> Callable[[str], None]:
    """Return a function that shows the progress line, in place on a terminal, else once a second."""
    if sys.stdout.isatty():
        from rich.console import Console

        status = Console().status("starting")
        status.start()

        def show(line: str) -> None:
            status.update(line) if line else status.stop()

        return show
    last = [0.0]

    def show_plain(line: str) -> None:
        if line and time.monotonic() - last[0] > 1.0:
            last[0] = time.monotonic()
            print(line, flush=True)

    return show_plain


class StackError(RuntimeError):
    """The stack failed; the message contains the reason."""


def drive(
    supervisor: Supervisor,
    watcher: Watcher,
    folder: Path,
    limit: float,
    show: Callable[[str], None],
    patience: float = 90.0,
    recorded: bool = True,
    linger: float = 0.0,
) -> tuple[float, dict]:
    """Wait for the graph, send the task, wait for its end, and stop the robot.

    Args:
        folder: folder for the task as reference.yaml.
        limit: longest duration of the task, simulated seconds.
        show: shows the progress line.
        patience: longest wait for the graph, seconds.
        recorded: the graph has a recorder, which must run before the task.
        linger: simulated seconds after a success for which the policy continues and the success must last.

    Returns:
        Duration of the task in simulated seconds, and its outcome; "in_progress" if a verdict has not lasted.

    Raises:
        StackError: a node died, or a condition was not met in time.
    """

    shown = 0.0

    def spin(began: float) -> None:
        """Process one message. Update the progress line at most every 0.1 s."""
        nonlocal shown
        rclpy.spin_once(watcher.node, timeout_sec=0.05)
        if time.monotonic() - shown > 0.1:
            shown = time.monotonic()
            show(watcher.line(began))

    def wait(condition: Callable[[], bool], seconds_: float, what: str) -> None:
        deadline = time.monotonic() + seconds_
        while not condition():
            spin(0.0)
            if dead := supervisor.dead():
                raise StackError(
                    "; ".join(
                        f"node {name} died with code {code}, see {supervisor.log_dir}/{name}.log"
                        for name, code in dead.items()
                    )
                )
            if time.monotonic() > deadline:
                reasons = "; ".join(f"{name}: {m.reason}" for name, m in watcher.status.items()) or "no node reported"
                raise StackError(f"{what}: not received within {seconds_:g} s ({reasons})")

    ready = (State.READY, State.RUNNING)
    wait(
        lambda: (
            {"policy", "controller"} <= set(watcher.status)
            and all(watcher.status[n].state in ready for n in ("policy", "controller"))
        ),
        patience,
        "READY",
    )
    wait(lambda: watcher.reference is not None and watcher.task_has_subscriber(), 10.0, "the scene's reference")
    wait(lambda: watcher.points is not None, 10.0, "the simulated time")
    # A replay needs the first observation in the bag.
    wait(
        lambda: not recorded or "recorder" in watcher.status and watcher.status["recorder"].state == State.RUNNING,
        20.0,
        "the recorder",
    )
    save_reference(
        reference_from(watcher.reference),
        folder / "reference.yaml",
        f"The task of this run, as sent to {watcher.task_topic}.",
    )
    watcher.send_task()
    wait(lambda: watcher.active is not None or bool(watcher.refusal), 10.0, "an answer to the task")
    if watcher.active is None:
        raise StackError(watcher.refusal)
    began = watcher.time
    wait(lambda: bool(watcher.chunk_age_ms), 10.0, "a chunk")
    done_since, has_lasted = None, False
    deadline = time.monotonic() + 20 * limit
    while watcher.time - began < limit:
        spin(began)
        if dead := supervisor.dead():
            raise StackError(
                "; ".join(
                    f"node {name} died with code {code}, see {supervisor.log_dir}/{name}.log"
                    for name, code in dead.items()
                )
            )
        if time.monotonic() > deadline:
            raise StackError("simulated time stands still")
        over = watcher.outcome.get("verdict") in ("success", "wrong_goal")
        done_since = (done_since or watcher.time) if over else None
        has_lasted = done_since is not None and watcher.time - done_since >= linger
        if has_lasted:
            break
    elapsed, outcome = watcher.time - began, dict(watcher.outcome)
    if done_since is not None and not has_lasted:
        outcome |= {"verdict": "in_progress", "reason": "there, not for long enough"}
    watcher.stop()
    wait_until = time.monotonic() + 1.2  # one more round of diagnostics for the bag
    while time.monotonic() < wait_until:
        rclpy.spin_once(watcher.node, timeout_sec=0.05)
    return elapsed, outcome


@dataclass(frozen=True)
class DemoOptions:
    """Run one simulated task over ROS 2, headless, with a report."""

    task: str = setting("insertion", "task of the scene", choices=tuple(sorted(TASKS)))
    seed: int = setting(0, "seed of the scene")
    limit: float = setting(30.0, "s; longest duration of the task, simulated time", 0.0, 3600.0)
    checkpoint: str = setting("", "folder of the checkpoint; empty: as in the configuration")
    config: str = setting(PARAMETERS, "YAML file with the parameters of all nodes")
    robot: str = setting("", ROBOT)
    namespace: str = setting("", "namespace of the nodes, such as left; empty: the root")
    out: str = setting("", "new folder for the results; empty: runs/<time>")

    def __post_init__(self) -> None:
        check_namespace(self.namespace)


def main(argv: list[str], command: Callable[[NodeSpec], list[str] | None] = lambda spec: None) -> int:
    """Run the command. Return 0 if the stack worked, even if the task failed; else 1.

    Args:
        command: replaces the command of a node, for tests.
    """
    arguments = from_words(DemoOptions, argv, "uma demo")
    folder = Path(arguments.out or new_folder(arguments.namespace)).resolve()
    bag = folder / "bag"
    options = Options(
        seed=arguments.seed,
        checkpoint=arguments.checkpoint,
        config=arguments.config,
        robot=arguments.robot,
        record=str(bag),
        namespace=arguments.namespace,
        run_dir=str(folder),
    )
    choose_robot(arguments.robot)
    specs, parameters = prepared(arguments.task, located(options), missing_module), folder / PARAMETERS_OF_RUN
    folder.mkdir(parents=True, exist_ok=False)
    write_parameters(specs, parameters)
    print(f"{arguments.task.capitalize()} in scene {arguments.seed}; results in {os.path.relpath(folder)}/")
    show, trouble, elapsed = _show(), "", 0.0
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    rclpy.init(signal_handler_options=rclpy.SignalHandlerOptions.NO)
    supervisor, watcher = Supervisor(folder / "log"), Watcher(arguments.namespace)
    try:
        for spec in specs:
            supervisor.start(replace(spec, parameters={}), str(parameters), command(spec))
        elapsed, _ = drive(supervisor, watcher, folder, arguments.limit, show, linger=1.0)
    except StackError as error:
        trouble = str(error)
    except KeyboardInterrupt:
        trouble = "interrupted"
    finally:
        show("")
        codes = supervisor.stop()
        watcher.node.destroy_node()
        rclpy.try_shutdown()
    bad = {name: code for name, code in codes.items() if code}
    if bad and not trouble:
        trouble = "nodes with a nonzero exit code: " + ", ".join(f"{k} ({v})" for k, v in bad.items())
    return report(folder, bag, elapsed, arguments.limit, trouble, arguments.namespace)


def report(folder: Path, bag: Path, elapsed: float, limit: float, trouble: str, namespace: str = "") -> int:
    """Write the results of a run and print a summary. Return the exit code."""
    from uma_ros.offline.recording import read_recording
    from uma_ros.offline.report import contact_sheet, motion_plot, summarise, write_summary

    print("Reading the bag, drawing ...", flush=True)
    try:
        topics = Topics().in_namespace(namespace)
        recording = read_recording(bag, topics)
        summary = summarise(recording)
        (folder / "configuration.yaml").write_text(yaml.safe_dump(recording.configuration, sort_keys=False))
        contact_sheet(bag, recording, folder / "contact_sheet.png", topics=topics)
        summary |= motion_plot(recording, folder / "motion.png")
    except InputError as error:
        trouble = trouble or str(error)
        summary = locals().get("summary") or {
            "outcome": {},
            "chunks": 0,
            "latency_ms": {},
            "rates": {},
            "tracking": {},
            "nodes": {},
            "states": [],
        }
    outcome = summary["outcome"] or {}
    verdict = outcome.get("verdict", "unknown")
    if verdict == "success":
        summary["result"], summary["why"] = "success", outcome["reason"]
    else:
        why = {"in_progress": f"after {limit:g} s: {outcome.get('reason')}"}.get(
            verdict, outcome.get("reason", "no verdict")
        )
        summary["result"], summary["why"] = "failure", why
    summary["stack"] = f"failed: {trouble}" if trouble else "worked"
    summary["seconds"] = round(elapsed, 2)
    write_summary(summary, folder)
    latency = summary["latency_ms"].get("total", {})
    print(
        f"{outcome.get('task', 'insertion').capitalize()}: {summary['result']} ({summary['why']}) after {elapsed:.1f} s"
    )
    print(f"Stack: {summary['stack']}")
    if latency:
        rates = summary["rates"]
        print(
            f"Chunks: {summary['chunks']}, latency p50 {latency['p50']} ms, p95 {latency['p95']} ms; targets "
            f"at {rates.get('targets_hz')} Hz of simulated time"
        )
    for name in ("contact_sheet.png", "motion.png", "summary.md", "bag"):
        if (folder / name).exists():
            print(f"  {os.path.relpath(folder / name)}")
    return 1 if trouble else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
