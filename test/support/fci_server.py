"""A simulated Franka control interface on loopback, as a process: franky-sim's server, with reflexes added.

python fci_server.py HOST        prints "ready" when it accepts connections, then reads commands from standard input:
    reflex    abort the motion like the robot; refuse motions until an automatic error recovery
    stop      press the external activation device: refuse motions and recoveries
    release   release it
    mute      stop the state packets, as when the network cable is pulled
    drop      close the connection; the server accepts new ones
"""

from __future__ import annotations

import sys
import threading
import time

from franky_sim import SimulationServer
from franky_sim import franka_robot_protocol as protocol
from franky_sim.franka_robot_server import FrankaRobotServer
from franky_sim.mujoco_simulator import MujocoSimulator

HOME = (0.0, -0.35, 0.0, -2.35, 0.0, 2.0, 0.785)
REFLEX_ERRORS = tuple(i == 3 for i in range(41))


class Reflexes:
    """Laid over one robot server."""

    def __init__(self, server: FrankaRobotServer) -> None:
        self.server = server
        self.in_reflex = self.is_stopped = self.is_mute = False
        self.want_reflex = self.want_drop = False

    def tick(self) -> None:
        """Once a millisecond, in the server's thread."""
        s = self.server
        if self.want_drop:
            self.want_drop = False
            s.reset_state()
        if self.want_reflex:
            self.want_reflex, self.in_reflex = False, True
            motion = s.current_motion_id
            s.stop_motion(send_preemption_signal=False)
            if motion:
                protocol.BaseCommand.send_response(
                    s._tcp_socket, protocol.RobotCommand.kMove, motion, protocol.MoveStatus.kReflexAborted
                )
                s.reset_current_motion_id()

    def state(self, plain):
        if self.is_stopped:
            return plain.replace(robot_mode=protocol.RobotMode.kUserStopped)
        if self.in_reflex:
            return plain.replace(robot_mode=protocol.RobotMode.kReflex, errors=REFLEX_ERRORS)
        return plain


def install(reflexes: Reflexes) -> None:
    move, recovery = protocol.MoveCommand.handle, protocol.AutomaticErrorRecoveryCommand.handle
    plain_state, plain_send = FrankaRobotServer.robot_state, FrankaRobotServer.send_state

    def handle_move(self, server):
        if reflexes.in_reflex or reflexes.is_stopped:
            return self.reply(protocol.MoveStatus.kCommandNotPossibleRejected)
        return move(self, server)

    def handle_recovery(self, server):
        if reflexes.is_stopped:
            return self.reply(protocol.AutomaticErrorRecoveryStatus.kCommandRejectedDueToActivatedSafetyFunctions)
        reflexes.in_reflex = False
        return recovery(self, server)

    protocol.MoveCommand.handle, protocol.AutomaticErrorRecoveryCommand.handle = handle_move, handle_recovery
    FrankaRobotServer.robot_state = property(lambda self: reflexes.state(plain_state.fget(self)))
    FrankaRobotServer.send_state = lambda self: None if reflexes.is_mute else plain_send(self)


def listen(reflexes: Reflexes) -> None:
    for line in sys.stdin:
        word = line.strip()
        if word == "reflex":
            reflexes.want_reflex = True
        elif word == "drop":
            reflexes.want_drop = True
        elif word in ("stop", "release"):
            reflexes.is_stopped = word == "stop"
            reflexes.want_reflex |= word == "stop"
        elif word in ("mute", "unmute"):
            reflexes.is_mute = word == "mute"


def main(host: str) -> None:
    sim = MujocoSimulator()
    with sim:
        sim.add_robot(initial_q=HOME)
        with SimulationServer(sim, hostname_candidates=[host]) as server:
            reflexes = Reflexes(server.robot_servers[0])
            install(reflexes)
            threading.Thread(target=listen, args=(reflexes,), daemon=True).start()
            print("ready", flush=True)
            due = time.monotonic()
            while True:
                reflexes.tick()
                server.run_once(realtime=False)
                due = max(
                    due + 0.001, time.monotonic() - 0.02
                )  # on average 1 kHz, as the robot, without bursts after a pause
                time.sleep(max(due - time.monotonic(), 0.0))


if __name__ == "__main__":
    main(sys.argv[1])
