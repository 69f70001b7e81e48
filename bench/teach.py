"""What the page in the browser costs: CPU of its node, bytes to a page, and the policy's latency beside it.

    python bench/teach.py [--rounds 3] [--seconds 15] [--json FILE]

One live simulated graph with the shipped checkpoint acts on the scene's reference, again and again. Each round runs the
cases in another order: without the node, with the node alone, and with one and three pages. A page is a WebSocket
client that answers as the script in the page does; a real browser's drawing is not in the numbers.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import http.client
import json
import os
import socket
import tempfile
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import rclpy
from age import Listener
from rich.console import Console
from rich.table import Table
from two_hosts import wait
from uma_ros.msg import PolicyStatus

from uma_ros.deployment.graph import Options, insertion, teach
from uma_ros.deployment.supervisor import Supervisor
from uma_ros.runtime.resources import find
from uma_ros.runtime.topics import STATUS, Topics

TOKEN = "a_token_for_the_bench"
CASES = {"no node": -1, "no page": 0, "one page": 1, "three pages": 3}
"""Case -> number of pages; -1 without the node."""


class LatencyListener(Listener):
    """Also stores the latency of each chunk, ms."""

    def __init__(self) -> None:
        super().__init__()
        self.latency: dict[int, float] = {}
        self.node.create_subscription(PolicyStatus, Topics().status, self._on_latency, STATUS)

    def _on_latency(self, msg: PolicyStatus) -> None:
        if msg.node == "policy" and len(msg.latency_ms):
            self.latency[msg.sequence] = float(msg.latency_ms[-1])


class Client:
    """A page without a browser. It counts what it receives."""

    def __init__(self, port: int, name: str) -> None:
        self.received, self._port, self._name = 0, port, name
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
        connection.request("GET", f"/?token={TOKEN}")
        self._cookie = str(connection.getresponse().getheader("Set-Cookie")).split(";")[0]
        connection.close()
        self._end = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), daemon=True)
        self._thread.start()

    async def _run(self) -> None:
        import msgspec
        import viser
        import zstandard
        from viser import _messages as messages
        from websockets.asyncio.client import connect

        async with connect(
            f"ws://127.0.0.1:{self._port}/",
            origin=f"http://127.0.0.1:{self._port}",  # type: ignore[arg-type]
            additional_headers={"Cookie": self._cookie},
            subprotocols=[f"viser-v{viser.__version__}"],  # type: ignore[list-item]
            max_size=None,
        ) as web:

            async def send(message: messages.Message) -> None:
                await web.send(msgspec.msgpack.encode(message.as_serializable_dict(None)))

            await send(
                messages.ViewerCameraMessage(
                    (1.0, 0.0, 0.0, 0.0), (1.0, 0.0, 1.0), 1.0, 0.01, 10.0, 100, 100, (0.0, 0.0, 0.0), (0.0, 0.0, 1.0)
                )
            )
            alive = 0.0
            while not self._end.is_set():
                if time.monotonic() > alive:
                    alive = time.monotonic() + 0.25
                    await asyncio.to_thread(self._alive)
                try:
                    raw = await asyncio.wait_for(web.recv(), 0.1)
                except TimeoutError:
                    continue
                assert isinstance(raw, bytes)
                self.received += len(raw)
                size = int.from_bytes(raw[8:16], "little")
                for message in msgspec.msgpack.decode(zstandard.decompress(raw[16 : 16 + size]))["messages"]:
                    if message["type"] == "LocalStorageGetItemRequestMessage":
                        uuid = message["request_uuid"]
                        await send(messages.LocalStorageGetItemResponseMessage(self._name, None, uuid))

    def _alive(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=5)
        with contextlib.suppress(OSError, http.client.HTTPException):
            connection.request("GET", f"/uma/alive?page={self._name}", headers={"Cookie": self._cookie})
            connection.getresponse().read()
        connection.close()

    def close(self) -> None:
        self._end.set()
        self._thread.join(5.0)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def cpu_seconds(pid: int) -> float:
    words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


def measure(case: str, listener: LatencyListener, supervisor: Supervisor, length: float, config: str) -> dict:
    """Measure one case on the running graph."""
    port, clients = free_port(), []
    if CASES[case] >= 0:
        (spec,) = teach(Options(config=config))
        spec = replace(spec, parameters={**spec.parameters, "port": port, "token": TOKEN})
        supervisor.start(spec, config)
        wait(listener, supervisor, 60.0, lambda: _answers(port), "the page")
    clients = [Client(port, f"page{i}") for i in range(max(CASES[case], 0))]
    try:
        listener.spin(time.monotonic() + 3.0)
        listener.latency.clear()
        pid = supervisor.processes["teach"].pid if CASES[case] >= 0 else 0
        began, used, received = time.monotonic(), cpu_seconds(pid) if pid else 0.0, sum(c.received for c in clients)
        while time.monotonic() - began < length:
            listener.out.publish(listener.task)
            listener.spin(time.monotonic() + 2.5)
        took = time.monotonic() - began
        row = {
            "case": case,
            "cpu_percent": 100 * (cpu_seconds(pid) - used) / took if pid else float("nan"),
            "kb_per_s": (sum(c.received for c in clients) - received) / took / 1e3,
            "latency_ms": list(listener.latency.values()),
            "load": os.getloadavg()[0],
        }
    finally:
        for client in clients:
            client.close()
        if CASES[case] >= 0:
            supervisor.kill("teach")
            del supervisor.processes["teach"]
    return row


def _answers(port: int) -> bool:
    with contextlib.suppress(OSError):
        socket.create_connection(("127.0.0.1", port), 0.2).close()
        return True
    return False


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=15.0)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
    rows: list[dict] = []
    with tempfile.TemporaryDirectory() as folder, Supervisor(Path(folder) / "log") as supervisor:
        config = str(find("config/parameters.yaml"))
        for spec in insertion(Options(seed=3, config=config, run_dir=folder, description="off")):
            supervisor.start(spec, config)
        rclpy.init()
        listener = LatencyListener()

        def is_ready() -> bool:
            return listener.status.get("policy") == PolicyStatus.READY and listener.task is not None

        wait(listener, supervisor, 120.0, is_ready, "the start")
        names = list(CASES)
        for i in range(args.rounds):
            for case in names[i % len(names) :] + names[: i % len(names)]:
                rows.append(measure(case, listener, supervisor, args.seconds, config))
                print(json.dumps({**rows[-1], "latency_ms": len(rows[-1]["latency_ms"])}), flush=True)
        rclpy.try_shutdown()
    table = Table("case", "CPU of the node, % of a core", "kB/s", "latency p50, ms", "p95", "chunks")
    for case in CASES:
        mine = [row for row in rows if row["case"] == case]
        latency = [ms for row in mine for ms in row["latency_ms"]] or [float("nan")]
        cpu, sent = (float(np.median([row[key] for row in mine])) for key in ("cpu_percent", "kb_per_s"))
        p50, p95 = np.percentile(latency, [50, 95])
        table.add_row(case, f"{cpu:.1f}", f"{sent:.0f}", f"{p50:.0f}", f"{p95:.0f}", str(len(latency)))
    Console().print(table)
    if args.json:
        args.json.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
