"""`uma teach --host 0.0.0.0`: the address with its token is printed, also as a QR code, and strangers are refused."""

import asyncio
import os
import re
import signal
import subprocess
import sys
import time

import pytest

pytest.importorskip("viser", reason="the extra 'teach' is not installed")
import viser
from harness import ROOT
from teaching import free_port, get
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from uma_ros.teach.guard import own_address
from uma_ros.teach.requests import qr

PATIENCE = 120.0


class Served:
    """The command in a process of its own.

    Attributes:
        port, host, token: of the printed address.
        output: what the command printed.
    """

    def __init__(self, folder) -> None:
        self.port, self._log = free_port(), folder / "log"
        words = [sys.executable, "-m", "uma.cli", "teach", "--host", "0.0.0.0", "--port", str(self.port)]
        with self._log.open("w") as out:
            self.process = subprocess.Popen(words, cwd=ROOT, stdout=out, stderr=out, start_new_session=True)
        self.host = self.token = ""

    @property
    def output(self) -> str:
        return self._log.read_text()

    def begin(self) -> None:
        """Wait for the address, and what follows it."""
        end = time.monotonic() + PATIENCE
        pattern = rf"teach: open http://(\S+):{self.port}/\?token=([\w-]+) \((.*)\)\n(?:.*\n)+?\n"
        while not (found := re.search(pattern, self.output)):
            assert self.process.poll() is None and time.monotonic() < end, self.output[-3000:]
            time.sleep(0.2)
        self.host, self.token, self.warning = found.groups()

    def close(self) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(20)


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    served = Served(tmp_path_factory.mktemp("network"))
    try:
        served.begin()
        yield served
    finally:
        served.close()


@pytest.fixture(scope="module")
def addresses(served) -> list[str]:
    """This machine's own address, and that of the loopback."""
    return [f"{host}:{served.port}" for host in dict.fromkeys((own_address(), "127.0.0.1"))]


def test_the_address_with_a_new_token_is_printed_and_drawn(served):
    assert served.host == own_address() and len(served.token) >= 20
    assert "plain HTTP" in served.warning
    pytest.importorskip("qrcode", reason="the extra 'teach' is not installed")
    drawn = qr(f"http://{served.host}:{served.port}/?token={served.token}")
    assert drawn.strip() and drawn.strip() in served.output


def test_a_page_with_the_token_is_served_by_every_own_address(served, addresses):
    for address in addresses:
        host = address.split(":")[0]
        status, headers, body = get(served.port, f"/?token={served.token}", host=host, Host=address)
        assert status == 200 and b"<html" in body and b"umaStop" in body
        cookie = headers["set-cookie"].split(";")[0]
        assert get(served.port, "/", host=host, Host=address)[0] == 401
        assert get(served.port, "/", host=host, Host=address, Cookie=cookie)[0] == 200


@pytest.mark.parametrize("path", ["/", "/?token=", "/?token=a-wrong-token-of-some-length", "/uma/stop"])
def test_without_the_token_nothing_is_served(served, addresses, path):
    for address in addresses:
        assert get(served.port, path, host=address.split(":")[0], Host=address)[0] == 401


def test_foreign_names_and_pages_are_refused_even_with_the_token(served, addresses):
    path = f"/?token={served.token}"
    for address in addresses:
        host = address.split(":")[0]
        assert get(served.port, path, host=host, Host=f"evil.example:{served.port}")[0] == 403
        assert get(served.port, path, host=host, Host=address, Origin="http://evil.example")[0] == 403


def test_a_socket_needs_an_own_origin_and_the_cookie(served, addresses):
    async def status(address: str, **given: str) -> int:
        origin = given.pop("Origin", f"http://{address}")
        protocol = [f"viser-v{viser.__version__}"]
        url = f"ws://{address}/"
        try:
            async with connect(url, origin=origin, additional_headers=given, subprotocols=protocol, max_size=None):
                return 101
        except InvalidStatus as error:
            return error.response.status_code

    for address in addresses:
        page = get(served.port, f"/?token={served.token}", host=address.split(":")[0], Host=address)
        cookie = page[1]["set-cookie"].split(";")[0]
        assert asyncio.run(status(address)) == 401
        assert asyncio.run(status(address, Cookie=cookie, Origin="http://evil.example")) == 403
        assert asyncio.run(status(address, Cookie=cookie)) == 101


def test_an_interrupt_ends_the_command(served):
    served.process.send_signal(signal.SIGINT)
    assert served.process.wait(60) == 0, served.output[-3000:]
    with pytest.raises(OSError):
        get(served.port, "/")
