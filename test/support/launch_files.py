"""A stand-in for `launch`, which is not on PyPI: what a launch file declares and which processes it starts."""

from __future__ import annotations

import runpy
import sys
import types

from harness import ROOT


class Noted:
    """Notes what the launch file asks for."""

    def __init__(self, *args, **kwargs):
        self.args, self.kwargs = args, kwargs


class Configuration(Noted):
    def perform(self, context):
        return context.launch_configurations[self.args[0]]


class Launch:
    """A launch file that has been read.

    Attributes:
        arguments: name -> default value.
        start: texts of arguments -> the processes.
    """

    def __init__(self, name, monkeypatch, prefix):
        kinds = ("DeclareLaunchArgument", "LogInfo", "OpaqueFunction", "SetEnvironmentVariable", "Shutdown")
        modules = {
            "launch": {"LaunchDescription": Noted},
            "launch.actions": {k: type(k, (Noted,), {}) for k in kinds},
            "launch.substitutions": {"LaunchConfiguration": Configuration},
            "launch_ros": {},
            "launch_ros.actions": {"Node": type("Node", (Noted,), {})},
        }
        for module, names in modules.items():
            stand_in = types.ModuleType(module)
            stand_in.__dict__.update(names)
            monkeypatch.setitem(sys.modules, module, stand_in)
        monkeypatch.setattr("ament_index_python.packages.get_package_prefix", lambda package: str(prefix))
        monkeypatch.delitem(sys.modules, "graph_launch", raising=False)
        described = runpy.run_path(str(ROOT / f"launch/{name}.launch.py"))["generate_launch_description"]()
        sys.modules.pop("graph_launch", None)
        actions = described.args[0]
        declared = [a for a in actions if type(a).__name__ == "DeclareLaunchArgument"]
        self.arguments = {a.args[0]: a.kwargs["default_value"] for a in declared}
        self._start = next(a for a in actions if type(a).__name__ == "OpaqueFunction").kwargs["function"]

    def actions(self, environment=(), **given):
        """The actions of a start with these arguments and this environment."""
        texts = self.arguments | given
        return self._start(types.SimpleNamespace(launch_configurations=texts, environment=dict(environment)))

    def start(self, **given):
        """The processes of a start."""
        return [action for action in self.actions(**given) if type(action).__name__ == "Node"]
