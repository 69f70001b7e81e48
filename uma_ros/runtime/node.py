"""Base class of the nodes: typed parameters, configuration on a latched topic, diagnostics, clean shutdown."""

from __future__ import annotations

import ctypes
import faulthandler
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import rclpy
import yaml
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor, SetParametersResult
from rclpy.callback_groups import CallbackGroup, ReentrantCallbackGroup
from rclpy.clock import Clock, ClockType
from rclpy.event_handler import PublisherEventCallbacks, SubscriptionEventCallbacks
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.parameter import Parameter
from std_msgs.msg import String
from std_srvs.srv import Trigger

from uma.settings import as_kind, check_settings, flatten, replaced
from uma.types import InputError
from uma_ros.runtime.exit_codes import HUNG, REFUSED
from uma_ros.runtime.health import Severity, WaitLog, judged
from uma_ros.runtime.lifecycle import ManagedNode
from uma_ros.runtime.parameters import check_names
from uma_ros.runtime.robot import ROBOT, choose_robot, robot_values, with_frames
from uma_ros.runtime.sections import check_command_line, shared_names
from uma_ros.runtime.topics import CONFIGURATION

PATIENCE = 6.0
"""Longest time in which the middleware may remove a node from the graph, seconds."""


class UmaNode(ManagedNode):
    """A node whose parameters are the fields of a settings dataclass.

    Before the configuration all parameters may be set, afterwards only those marked live. A request with several
    parameters sets all or none of them.

    Topics and services are created under the names of `self.settings.topics`, relative to the node's namespace.
    Messages for people contain the full names of `self.topics` and of `service_name`.

    Args:
        name: default node name.
        settings: an instance with the defaults; `self.settings` contains the parameters' values.

    Attributes:
        topics: full names of the topics, after remapping.

    Raises:
        InputError: a parameter is unknown or invalid, or the robot file is invalid.
    """

    def __init__(self, name: str, settings: Any) -> None:
        super().__init__(name)
        check_command_line(sys.argv, self.get_fully_qualified_name())
        # An unreadable robot file ends the node here, not at its first message.
        choose_robot(self.declare_parameter("robot", "", ParameterDescriptor(description=ROBOT)).value)
        values = {}
        for key, (default, rule) in flatten(settings).items():
            values[key] = as_kind(self.declare_parameter(key, default, describe(default, rule)).value, default)
        self._use(replaced(settings, values))
        what = "a manager runs the node's life cycle; otherwise the node configures and activates itself"
        self.is_managed = self.declare_parameter("managed", False, ParameterDescriptor(description=what)).value
        # rclpy offers no public list of the values from outside.
        for warning in check_names(name, self._parameter_overrides, flatten(settings), shared_names(sys.argv)):
            self.get_logger().warning(warning)
        self.add_on_set_parameters_callback(self._set)
        self.started = time.monotonic()
        self.problems: dict[str, str] = {}
        self.session_state: tuple[int, str] | None = None  # state and its reason, in a node with a session
        self._errors: set[str] = set()
        self._wait_log = WaitLog()
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", 10)
        self._configuration = self.create_publisher(String, self.settings.topics.configuration, CONFIGURATION)
        self.create_steady_timer(1.0, self._publish_diagnostics)
        self.create_steady_timer(1.0, self._log_waits)

    # -- parameters ----------------------------------------------------------------------------------------------------

    def _use(self, settings: Any) -> None:
        self.topics = settings.topics.resolved(self.resolve_topic_name)
        self.settings = with_frames(settings)

    def _set(self, parameters: list[Parameter]) -> SetParametersResult:
        known, values = flatten(self.settings), {}
        for p in parameters:
            live = p.name in known and (known[p.name][1].get("live") or not self.is_configured)
            if not live:
                way = "deactivate and clean up the node first, or restart it" if p.name in known else "restart the node"
                return SetParametersResult(successful=False, reason=f"{p.name}: read at the start; {way} to change it")
            values[p.name] = as_kind(p.value, known[p.name][0])
        try:
            settings = replaced(self.settings, values)
            check_settings(settings)
            self._use(settings)
        except InputError as error:
            return SetParametersResult(successful=False, reason=str(error))
        if self.is_configured:
            self.on_settings_changed()
            self.publish_configuration()
            self.get_logger().info("parameters changed: " + ", ".join(f"{k} = {v}" for k, v in values.items()))
        return SetParametersResult(successful=True)

    def on_settings_changed(self) -> None:
        """Apply changed live fields of `self.settings` to objects with copies of them."""

    # -- time ----------------------------------------------------------------------------------------------------------

    def create_steady_timer(self, period: float, callback: Callable[[], Any], group: CallbackGroup | None = None):
        """Create a timer on the steady clock, which runs even if /clock stops.

        A callback that awaits needs a reentrant ``group``: see `create_group`.
        """
        return self.create_timer(period, callback, callback_group=group, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def create_group(self) -> CallbackGroup:
        """Create a reentrant group for callbacks that await, and for the clients whose answers they await.

        In the default group a running callback blocks all others.
        """
        return ReentrantCallbackGroup()

    def ros_time(self) -> float:
        """Return the time on the ROS clock (simulated with use_sim_time), seconds."""
        return self.get_clock().now().nanoseconds * 1e-9

    def clock_runs(self) -> bool:
        """Return False until the first message on a simulated clock. Before it, ages of stamps are undefined."""
        return self.get_clock().now().nanoseconds > 0

    # -- topics --------------------------------------------------------------------------------------------------------

    def make_subscription(self, kind: type, topic: str, callback: Callable, qos: Any) -> None:
        """Subscribe; an incompatible publisher becomes a problem in the diagnostics."""
        name = self.resolve_topic_name(topic)
        events = SubscriptionEventCallbacks(
            incompatible_qos=lambda e: self.problem(name, f"a publisher's QoS does not fit ({e.last_policy_kind})")
        )
        self.create_subscription(kind, topic, callback, qos, event_callbacks=events)

    def make_publisher(self, kind: type, topic: str, qos: Any):
        """Create a publisher; an incompatible subscriber becomes a problem in the diagnostics."""
        name = self.resolve_topic_name(topic)
        events = PublisherEventCallbacks(
            incompatible_qos=lambda e: self.problem(name, f"a subscriber's QoS does not fit ({e.last_policy_kind})")
        )
        return self.create_publisher(kind, topic, qos, event_callbacks=events)

    def service_name(self, name: str) -> str:
        """Return the full name of the service ``uma/NAME`` in the node's namespace, such as /uma/start."""
        return self.resolve_service_name(f"uma/{name}")

    @property
    def full_name(self) -> str:
        """The node's name with its namespace, without the first slash: ``controller`` or ``left/controller``."""
        return self.get_fully_qualified_name().removeprefix("/")

    # -- diagnostics ---------------------------------------------------------------------------------------------------

    def log(self, severity: Severity, text: str) -> None:
        """Log a line. rclpy demands a call of its own for each severity."""
        if severity is Severity.ERROR:
            self.get_logger().error(text)
        elif severity is Severity.WARN:
            self.get_logger().warning(text)
        else:
            self.get_logger().info(text)

    def problem(self, name: str, text: str, is_error: bool = False) -> None:
        """Set the problem ``name`` in the diagnostics, as a warning or an error; an empty text clears it."""
        if text and self.problems.get(name) != text:
            self.log(Severity.ERROR if is_error else Severity.WARN, f"{name}: {text}")
        (self._errors.add if text and is_error else self._errors.discard)(name)
        if text:
            self.problems[name] = text
        else:
            self.problems.pop(name, None)

    def waits(self) -> tuple[list[str], str]:
        """Return what a configured node waits for: the missing inputs, one sentence each, and a request to a person."""
        return [], ""

    def _log_waits(self) -> None:
        """Log what the node waits for, in full, when a line is due."""
        inputs, person = self.waits() if self.is_configured else ([], "")
        if self.get_parameter("use_sim_time").value and not self.clock_runs():
            inputs = [*inputs, f"{self.resolve_topic_name('/clock')}: nothing received yet"]
        if not self.is_active:
            step = "activation" if self.is_configured else "configuration"
            inputs, person = [], f"waiting for its {step} (ros2 lifecycle set {self.full_name} ...)"
        line = self._wait_log.due(time.monotonic(), inputs, person)
        if line is not None:
            self.log(*line)

    def diagnose(self) -> dict[str, Any]:
        """Return the values of a configured node for /diagnostics and for its report at the end."""
        return {}

    def publish_configuration(self, **more: Any) -> None:
        """Publish the resolved parameters and ``more`` once, latched."""
        parameters = {k: v for k, (v, _) in flatten(self.settings).items()}
        self._more = {**getattr(self, "_more", {}), **more}
        text = yaml.safe_dump(
            {
                "node": self.get_name(),
                "namespace": self.get_namespace(),
                "robot": robot_values(),
                "parameters": parameters,
                **self._more,
            },
            sort_keys=False,
        )
        self._configuration.publish(String(data=text))

    def _publish_diagnostics(self) -> None:
        values = {**(self.diagnose() if self.is_configured else {}), **self.problems}
        otherwise = "ok" if self.is_active else "inactive" if self.is_configured else "unconfigured"
        state, reason = (self.session_state if self.is_configured else None) or (None, "")
        severity, message = judged(state, reason, self.problems, self._errors, otherwise)
        pairs = [KeyValue(key=k, value=str(v)) for k, v in values.items()]
        status = DiagnosticStatus(
            level=bytes([severity]), name=f"uma: {self.full_name}", message=message, hardware_id="uma", values=pairs
        )
        msg = DiagnosticArray(status=[status])
        msg.header.stamp = self.get_clock().now().to_msg()
        self._diagnostics.publish(msg)


def attempted(action: Callable[[], str | None], done: str, response: Trigger.Response) -> Trigger.Response:
    """Run ``action`` and return the response: its own text or ``done``, or the text of its RuntimeError."""
    try:
        text = action()
    except RuntimeError as error:
        response.success, response.message = False, str(error)
    else:
        response.success, response.message = True, text or done
    return response


def describe(default: Any, rule: dict) -> ParameterDescriptor:
    """Return the ROS descriptor of a setting: description and range."""
    text = rule.get("description", "")
    if rule.get("choices"):
        text += f" ({' | '.join(rule['choices'])})"
    # Of a text, `replaced` checks the type: an integer is accepted too.
    descriptor = ParameterDescriptor(description=text, read_only=False, dynamic_typing=isinstance(default, str))
    low, high = rule.get("low"), rule.get("high")
    if isinstance(default, float) and low is not None and high is not None:
        descriptor.floating_point_range = [FloatingPointRange(from_value=float(low), to_value=float(high), step=0.0)]
    elif isinstance(default, int) and not isinstance(default, bool) and low is not None and high is not None:
        descriptor.integer_range = [IntegerRange(from_value=int(low), to_value=int(high), step=0)]
    return descriptor


def run_node(make: Callable[[], UmaNode]) -> int:
    """Run the node that ``make`` builds until Ctrl-C or SIGTERM. Return the exit code of the process.

    An unmanaged node is configured and activated first. A signal interrupts this start at once. Later the running
    callback returns first, for it may be in the middle of a file; a second signal interrupts it.
    """
    faulthandler.enable()  # a crash in a library prints the Python stack
    faulthandler.register(signal.SIGUSR1)  # kill -USR1 prints the Python stack of a node that hangs
    interrupts: list[bool] = []
    is_spinning = False

    def interrupt(*_: object) -> None:
        interrupts.append(True)
        if not is_spinning or len(interrupts) > 1:
            raise KeyboardInterrupt

    signal.signal(signal.SIGINT, interrupt)
    rclpy.init(args=sys.argv)
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    node = None
    try:
        node = make()
        if not node.is_managed:
            node.trigger_configure()
            if node.failure is not None:
                raise node.failure
            node.trigger_activate()
        executor = SingleThreadedExecutor()
        executor.add_node(node)
        is_spinning = True
        while rclpy.ok() and not interrupts:
            executor.spin_once(1.0)
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    except InputError as error:
        print(f"{os.path.basename(sys.argv[0])}: {error}", file=sys.stderr)
        return REFUSED
    except rclpy.exceptions.ParameterException as error:
        print(f"{os.path.basename(sys.argv[0])}: {error}", file=sys.stderr)
        return REFUSED
    except Exception:
        if rclpy.ok() and not interrupts:  # an interrupt during the start or a conversion can raise any error
            raise
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        if node is not None:
            report = "never configured"
            if node.is_configured:
                node.close()
                report = ", ".join(f"{k} {v}" for k, v in node.diagnose().items())
            print(
                f"[{node.full_name}] ended after {time.monotonic() - node.started:.1f} s; {report}",
                file=sys.stderr,
                flush=True,
            )
            with _no_longer_than(PATIENCE):
                node.destroy_node()
                rclpy.try_shutdown()
        else:
            rclpy.try_shutdown()
    return 0


@contextmanager
def _no_longer_than(seconds: float) -> Iterator[None]:
    """Guard the shutdown of the middleware, whose threads sometimes deadlock.

    After ``seconds`` it prints the Python stacks, and the process ends with exit code `HUNG`. The deadlock may be in C
    with Python's global lock held, where no Python handler runs. The signal handler is therefore C's own ``_exit``,
    which receives the signal's number as exit code.
    """
    libc = ctypes.CDLL(None)
    libc.signal.argtypes, libc.signal.restype = [ctypes.c_int, ctypes.c_void_p], ctypes.c_void_p
    libc.signal(HUNG, ctypes.cast(libc._exit, ctypes.c_void_p))
    faulthandler.dump_traceback_later(seconds)
    signal.setitimer(signal.ITIMER_REAL, seconds + 0.5)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        faulthandler.cancel_dump_traceback_later()


def leave(code: int) -> None:
    """End the process at once. Everything is closed, and library threads may deadlock in the interpreter's shutdown."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
