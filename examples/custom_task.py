"""A custom simulated task: lift one bar. The policy acts in its scene."""

from dataclasses import replace

import numpy as np

from uma.geometry import se3
from uma.policy import Policy
from uma.types import ReferenceMotion
from uma_sim import scene
from uma_sim.objects.catalog import Finish, shape
from uma_sim.station import Station
from uma_sim.tasks.primitives import move


def sample(seed: int) -> move.Scene:
    room, place = scene.random_room(np.random.default_rng(seed)), np.array([[0.5, -0.1, 0.3]])  # m, m, rad
    return move.Scene(room, (shape("bar", 0),), (Finish(0.1, 1.0, (0.8, 0.1, 0.1, 1.0)),), place, ways=(), goal=0)


def plan_reference(station: Station, *_args: object, **_options: object) -> ReferenceMotion:
    start = station.object_points()[[0, 7, 15]]
    paths_base = np.stack([start, start + [0.0, 0.0, 0.15]], axis=1)  # three points, 15 cm up
    return ReferenceMotion(tuple(se3.apply(se3.invert(station.T_base_cam), paths_base)), frame=station.camera.frame)


def main() -> None:
    lift = replace(move.TASK, name="lift", sample=sample, plan_reference=plan_reference)  # the rest is shipped
    station, policy = Station(3, lift), Policy.load("models/uma-small", threads=1)
    task = policy.encode_task(station.observe(), lift.plan_reference(station))
    for n in range(10):
        chunk = policy.predict(station.observe(), task, sequence=n).chunk
        for pose, grip in zip(station.T_base_cam @ chunk.poses[:8], chunk.gripper[:8] > 0.5, strict=True):
            station.act(pose, float(grip))
        print(f"{station.time:4.1f} s: the bar is {100 * station.object_pose()[2, 3]:.0f} cm high")
    station.close()


if __name__ == "__main__":
    main()
