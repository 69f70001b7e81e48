"""`uma up GRAPH`: run a node graph in this terminal."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, replace
from pathlib import Path
from typing import Any

from uma.settings import from_words, setting
from uma_ros.deployment.discovery import RANGE, discovery_line, discovery_range
from uma_ros.deployment.graph import GRAPHS, Options, ends_graph
from uma_ros.deployment.preparation import PARAMETERS_OF_RUN, located, missing_module, prepared, write_parameters
from uma_ros.deployment.supervisor import Supervisor
from uma_ros.runtime.resources import new_folder


@dataclass(frozen=True, kw_only=True)
class UpOptions(Options):
    """Run a node graph until Ctrl-C."""

    graph: str = setting(MISSING, "name of the graph", choices=tuple(sorted(GRAPHS)))


def main(argv: list[str], changes: Mapping[str, dict[str, Any]] | None = None) -> int:
    """Run the command. Return 0 after Ctrl-C, 1 if a node died or failed. Raises `InputError` for a wrong argument.

    Args:
        changes: node -> parameters that replace those of the configuration file.
    """
    arguments = from_words(UpOptions, argv, "uma up")
    run_dir = arguments.run_dir or new_folder(arguments.namespace)
    options = replace(located(arguments), run_dir=run_dir)
    specs = prepared(options.graph, options, missing_module)
    specs = tuple(replace(spec, parameters={**spec.parameters, **(changes or {}).get(spec.name, {})}) for spec in specs)
    parameters = Path(options.run_dir) / PARAMETERS_OF_RUN
    write_parameters(specs, parameters)
    os.environ[RANGE] = discovery_range(options.discovery, os.environ)
    print(discovery_line(os.environ[RANGE], os.environ), flush=True)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    width = max(len(spec.name) for spec in specs)
    deaths: dict[str, int] = {}
    with Supervisor(
        Path(options.run_dir) / "log", lambda name, line: print(f"{name:>{width}} | {line}", flush=True)
    ) as supervisor:
        try:
            for spec in specs:
                supervisor.start(replace(spec, parameters={}) if spec.module else spec, str(parameters))
            while True:
                for name, code in supervisor.dead().items():
                    if name not in deaths:
                        deaths[name] = code
                        print(f"{name} died with code {code}; it is not restarted", file=sys.stderr, flush=True)
                if any(ends_graph(name, code, options.keep_going) for name, code in deaths.items()):
                    break
                if len(deaths) == len(specs):
                    break
                time.sleep(0.1)
        except KeyboardInterrupt:
            print("ending every node", file=sys.stderr, flush=True)
            signal.signal(signal.SIGINT, signal.SIG_IGN)
        codes = supervisor.stop()
    bad = {name: code for name, code in codes.items() if code != 0}
    if bad:
        print("nodes with a nonzero exit code: " + ", ".join(f"{k} ({v})" for k, v in bad.items()), file=sys.stderr)
    return 1 if bad or deaths else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
