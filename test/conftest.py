"""What holds for every test: headless rendering, one thread of torch, ROS on this host only, a ROS domain that no other
test run on this machine has."""

import os
import socket
import sys
from pathlib import Path

os.environ.setdefault("MUJOCO_GL", "egl")
os.environ.setdefault("OMP_NUM_THREADS", "1")  # threads that wait for each other are slower than one on shared cores
# The examples of property tests are the same in every run; what finds new ones is test/property/fuzz.py, with a seed.
try:
    import hypothesis

    hypothesis.settings.register_profile("seeded", derandomize=True)
    hypothesis.settings.load_profile("seeded")
except ImportError:  # test/ros/faults.py and others run without the test suite's packages
    pass
os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"


def _own_domain() -> tuple[int, socket.socket]:
    """A domain of 10 to 99, and the port that keeps it taken for as long as this process lives."""
    for domain in (10 + (os.getpid() + i) % 90 for i in range(90)):
        taken = socket.socket()
        try:
            taken.bind(("127.0.0.1", 29_000 + domain))
        except OSError:
            taken.close()
            continue
        return domain, taken
    raise RuntimeError("ROS domains 10 to 99 are all taken by other test runs")


_domain, _taken = _own_domain()
os.environ["ROS_DOMAIN_ID"] = str(_domain)
sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parent / "ros")]
