"""A ROS domain on this host that no other test run has; import it before rclpy starts."""

import os
import socket

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
