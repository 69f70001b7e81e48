"""Launch actions for the graphs of uma_ros.deployment.graph. Every decision is in uma_ros.deployment."""

import sys
from dataclasses import replace
from pathlib import Path

from ament_index_python.packages import get_package_prefix
from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, LogInfo, OpaqueFunction, SetEnvironmentVariable, Shutdown
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

from uma.settings import allowed, flatten
from uma_ros.deployment.arguments import check_arguments, on_command_line, options_from
from uma_ros.deployment.discovery import RANGE, discovery_line, discovery_range
from uma_ros.deployment.graph import Options, enclave, ends_graph
from uma_ros.deployment.preparation import PARAMETERS_OF_RUN, located, missing_executable, prepared, write_parameters
from uma_ros.runtime.names import full_name
from uma_ros.runtime.resources import new_folder


def after_exit(name: str, keep_going: bool):
    """Return the handler of a node's end, which ends the launch where `ends_graph` says so.

    The launch exits with 1 after a node that failed: `launch` does so only after an exception.
    """

    def handle(event, context):
        if context.is_shutdown or not ends_graph(name, event.returncode, keep_going):
            return []
        reason = f"{name} ended with code {event.returncode}"
        if event.returncode:
            raise RuntimeError(reason)
        return [Shutdown(reason=reason)]

    return handle


def describe(graph: str) -> LaunchDescription:
    """Return the launch description of ``graph``, with a launch argument for each field of `Options`."""
    options = flatten(Options())
    arguments = [
        DeclareLaunchArgument(
            name,
            default_value=str(value).lower() if isinstance(value, bool) else str(value),
            description=rule["description"] + (f"; {allowed(rule)}" if allowed(rule) else ""),
            choices=list(rule["choices"]) if rule.get("choices") and value in rule["choices"] else None,
        )
        for name, (value, rule) in options.items()
    ]

    def start(context):
        check_arguments(on_command_line(sys.argv, f"{graph}.launch.py"), options, context.launch_configurations)
        chosen = options_from({name: LaunchConfiguration(name).perform(context) for name in options})
        # A launch file that includes this one may push a namespace.
        namespace = full_name(chosen.namespace, context.launch_configurations.get("ros_namespace", ""))
        run_dir = chosen.run_dir or new_folder(namespace, Path.home() / ".ros/uma")
        chosen = replace(located(chosen), run_dir=run_dir, namespace=namespace)
        specs = prepared(graph, chosen, lambda spec: missing_executable(spec, get_package_prefix))
        parameters = Path(run_dir) / PARAMETERS_OF_RUN
        write_parameters(specs, parameters)
        span = discovery_range(chosen.discovery, context.environment)
        nodes = [
            Node(
                package=spec.package,
                executable=spec.name,
                name=spec.name,
                namespace=spec.namespace or None,
                remappings=list(spec.remappings),
                output="screen",
                parameters=[str(parameters) if spec.module else spec.parameters],
                arguments=list(spec.arguments),
                ros_arguments=enclave(spec.full_name),
                on_exit=after_exit(spec.name, chosen.keep_going),
            )
            for spec in specs
        ]
        return [SetEnvironmentVariable(RANGE, span), LogInfo(msg=discovery_line(span, context.environment)), *nodes]

    return LaunchDescription([*arguments, OpaqueFunction(function=start)])
