"""Read a recorder's bag into arrays: `python examples/read_bag.py runs/TIME/bag`."""

import argparse

import numpy as np
from sensor_msgs.msg import Image

from uma_ros.bags.reader import read_bag
from uma_ros.messages.convert import depth_from
from uma_ros.offline.recording import read_recording
from uma_ros.runtime.topics import Topics


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bag", help="folder of the bag")
    bag = parser.parse_args().bag
    recording, topics = read_recording(bag), Topics().in_namespace()
    times, poses = recording.ee  # (N,) s and (N, 4, 4), base frame
    chunk_times = np.array([chunk.stamp for _, chunk in recording.chunks])  # (M,) s
    actions = np.array([chunk.poses for _, chunk in recording.chunks]).reshape(
        len(chunk_times), -1, 4, 4
    )  # camera frame
    depth = np.array([depth_from(msg) for _, _, msg in read_bag(bag, {topics.depth: Image})])  # (F, H, W) float32 m

    path = np.linalg.norm(np.diff(poses[:, :3, 3], axis=0), axis=1).sum()
    print(f"end effector: {poses.shape} in {np.ptp(times) if len(times) else 0:.1f} s, {path:.2f} m of path")
    print(f"action chunks: {actions.shape}")
    print(f"depth images: {depth.shape} {depth.dtype}")
    for _, reference in recording.references:
        print(f"reference: {len(reference.waypoints)} keypoints in {reference.frame}")


if __name__ == "__main__":
    main()
