"""On the live graph the controller hears the arm's joints and holds before one comes too near to its limit, by name;
then it follows what leads back."""

import pytest
from harness import Graph, point_task
from uma_ros.msg import PolicyStatus

from uma.geometry import fr3
from uma_ros.messages.convert import pose_from


@pytest.fixture
def graph(tmp_path):
    g = Graph(tmp_path, changes={"controller": {"safety.joint_margin": 0.45, "hold_limit": 60.0}})
    try:
        yield g
    finally:
        codes = g.close()
    assert set(codes.values()) == {0}


def test_arm_holds_before_the_elbow_limit_and_may_return(graph):
    graph.begin()
    c = graph.client
    here = lambda: pose_from(c.poses[-1][1].pose, "pose")[:3, 3]  # noqa: E731

    def go(*way: float) -> None:
        p, c.active = here() + way, None
        c.send(point_task(p))
        c.wait(lambda: c.active is not None, 30.0, "the task in force")

    go(-0.2, 0.0, 0.0)
    c.wait(
        lambda: (
            c.state("controller") == PolicyStatus.HOLD
            and "joint limits: joint 4 would be at -2." in c.status["controller"].reason
        ),
        40.0,
        "HOLD for joint 4",
    )
    c.spin(3.0)  # the policy tries again from where it is held: the arm comes nearer by ever smaller steps
    held, joints = here(), fr3.solve(pose_from(c.poses[-1][1].pose, "pose"), fr3.REST, posture=0.0)[0]
    assert fr3.LOWER[3] + 0.44 < joints[3] < fr3.LOWER[3] + 0.6, (
        "near the margin, and not beyond it but for what the simulated arm lags"
    )
    go(0.15, 0.0, 0.0)
    c.wait(lambda: c.state("controller") == PolicyStatus.RUNNING and here()[0] > held[0] + 0.08, 40.0, "the way back")
