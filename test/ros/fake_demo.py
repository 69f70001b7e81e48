"""The demo with the fake policy, for tests."""

import sys
from pathlib import Path

from uma_ros import demo
from uma_ros.graph import NodeSpec


def command(spec: NodeSpec) -> list[str] | None:
    words = spec.command("config/insertion.yaml")
    return [words[0], str(Path(__file__).with_name("fake_policy.py")), *words[3:]] if spec.name == "policy" else None


if __name__ == "__main__":
    sys.exit(demo.main(sys.argv[1:], command))
