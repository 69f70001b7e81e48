"""Predicted motion of two candidate chunks, and the better one for the reference (paper Eq. 6)."""

from dataclasses import replace

import numpy as np

from uma.policy import Policy
from uma.policy.planner import plan
from uma_sim.experts import expert
from uma_sim.planning.sketches import of_scene
from uma_sim.tasks import make_station


def main() -> None:
    station, inserter = make_station(3, "insertion"), expert("insertion")
    policy = Policy.load("models/uma-small", threads=1)
    reference = of_scene(station)
    task = policy.encode_task(station.observe(), reference)
    while not station.task.taken(station):  # the expert grasps and lifts the utensil
        station.act(*inserter.act(station))
    observation = station.observe()
    station.close()

    follow = policy.predict(observation, task).chunk
    hold = replace(follow, poses=np.repeat(observation.T_cam_ee[None], 16, axis=0), gripper=np.ones(16))
    motions = policy.predict_motions(observation, task, [follow, hold])
    best = plan(policy, observation, task, reference, candidates=[follow, hold])
    for name, motion, cost in zip(("follow", "hold"), motions, best.costs, strict=True):
        travel = np.linalg.norm(motion.points[-1] - motion.points[0], axis=-1).mean()  # points: (16, K, 3)
        print(f"{name:6}: the keypoints move {100 * travel:4.1f} cm, {100 * cost:.1f} cm of the reference remain")
    print(f"better: {'follow' if best.chunk is follow else 'hold'}")


if __name__ == "__main__":
    main()
