"""`uma up GRAPH`: start a node graph in this terminal."""

from __future__ import annotations

import argparse
import signal
import sys
import time
from dataclasses import fields
from datetime import datetime
from pathlib import Path

from uma.types import InputError
from uma_ros.deployment.graph import DRIVERS, GRAPHS, Options
from uma_ros.deployment.supervisor import Supervisor
from uma_ros.runtime.resources import find


def add_options(parser: argparse.ArgumentParser, defaults: Options | None = None) -> None:
    """One argument for each field of `Options`, as in the launch files."""
    defaults = defaults or Options()
    parser.add_argument(
        "--station", choices=("sim", "hardware"), default=defaults.station, help="simulated station or the robot"
    )
    parser.add_argument(
        "--checkpoint", default=defaults.checkpoint, help="folder of the checkpoint; default: as in the configuration"
    )
    parser.add_argument(
        "--prompt", default=defaults.prompt, help="prompt file for the checkpoint: the task until another one comes"
    )
    parser.add_argument("--config", default=defaults.config, help="YAML file with the parameters of all nodes")
    parser.add_argument("--record", default=defaults.record, metavar="FOLDER", help="record a bag there")
    parser.add_argument("--dry-run", action="store_true", help="everything but motion")
    parser.add_argument(
        "--managed", action="store_true", help="a manager node takes the others through their ROS 2 life cycle"
    )
    parser.add_argument("--rviz", action="store_true", help="also start rviz2")
    parser.add_argument(
        "--drivers",
        default=defaults.drivers,
        metavar="NAME,...",
        help=f"on hardware, our own driver nodes in place of the vendors': {', '.join(DRIVERS)}",
    )
    parser.add_argument("--seed", type=int, default=defaults.seed, help="of the simulated scene")
    parser.add_argument(
        "--run-dir", default="", help="folder for logs and the simulated calibration; default: runs/<time>"
    )


def options_from(args: argparse.Namespace) -> Options:
    run_dir = args.run_dir or str(Path("runs") / datetime.now().strftime("%Y-%m-%d_%H-%M-%S"))
    values = {f.name: getattr(args, f.name) for f in fields(Options) if hasattr(args, f.name)}
    return Options(**{**values, "run_dir": run_dir, "config": str(find(args.config))})


def main(argv: list[str]) -> int:
    """Exit code: 0 after Ctrl-C with every node well, 1 when a node died, 2 for a wrong argument."""
    parser = argparse.ArgumentParser(prog="uma up", description="Start a node graph; Ctrl-C ends it.")
    parser.add_argument("graph", choices=sorted(GRAPHS))
    add_options(parser)
    parser.add_argument(
        "--keep-going",
        action="store_true",
        help="when a node dies, leave the others running (the arm holds) instead of ending all",
    )
    args = parser.parse_args(argv)
    try:
        options = options_from(args)
        specs = GRAPHS[args.graph](options)
    except InputError as error:
        parser.error(str(error))
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    width = max(len(spec.name) for spec in specs)
    deaths: dict[str, int] = {}
    with Supervisor(
        Path(options.run_dir) / "log", lambda name, line: print(f"{name:>{width}} | {line}", flush=True)
    ) as supervisor:
        try:
            for spec in specs:
                supervisor.start(spec, options.config)
            while True:
                for name, code in supervisor.dead().items():
                    if name not in deaths:
                        deaths[name] = code
                        print(f"{name} died with code {code}; it is not restarted", file=sys.stderr, flush=True)
                if deaths and (not args.keep_going or len(deaths) == len(specs)):
                    break
                time.sleep(0.1)
        except KeyboardInterrupt:
            print("ending every node", file=sys.stderr, flush=True)
            signal.signal(signal.SIGINT, signal.SIG_IGN)
        codes = supervisor.stop()
    bad = {name: code for name, code in codes.items() if code != 0}
    if bad:
        print("ended with another code than 0: " + ", ".join(f"{k} ({v})" for k, v in bad.items()), file=sys.stderr)
    return 1 if bad or deaths else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
