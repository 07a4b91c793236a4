"""Count what tries to leave the machine: run ``python -m tests.app.isolated NAME`` through ``ISOLATED``.

It does what NAME says in a network namespace of its own, whose way out is a cable to nowhere, and prints the packets
that came out of that.
"""

import contextlib
import os
import socket
import struct
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Final

from tests.app.patient import WHOLE
from tests.app.server import Server
from tests.images import encode, radiograph

_CABLE: Final = """
ip link set lo up
ip link add out type veth peer name nowhere
ip link set nowhere up
ip link set out up
ip address add 192.0.2.2/24 dev out
ip neighbour add 192.0.2.1 lladdr 02:00:00:00:00:01 dev out
ip route add default via 192.0.2.1
if ip -6 address add 2001:db8::2/64 dev out nodad 2>/dev/null; then
    ip -6 neighbour add 2001:db8::1 lladdr 02:00:00:00:00:01 dev out
    ip -6 route add default via 2001:db8::1
fi
mount -t tmpfs none /mnt
printf "nameserver 192.0.2.1\\noptions timeout:1 attempts:1\\n" >/mnt/resolv.conf
mount --bind /mnt/resolv.conf "$(readlink -f /etc/resolv.conf)"
exec "$@"
"""

_AS_ROOT: Final = ("--map-root-user",) if os.geteuid() else ()
ISOLATED: Final = ("unshare", *_AS_ROOT, "--net", "--mount", "sh", "-ec", _CABLE, "sh")
"""Runs a command that follows it where every packet to another machine goes into the cable."""

NO_CI: Final = {"CI": "", "TF_BUILD": "", "JENKINS_URL": ""}
"""Without these, OpenVINO does not know that it is tested."""

_ALL_PROTOCOLS: Final = 3  # ETH_P_ALL
_ARP, _IPV4, _IPV6 = 0x0806, 0x0800, 0x86DD
_ICMPV6, _HOP_BY_HOP = 58, 0  # the kernel's own, to find neighbours and routers


def call_out() -> None:
    """What a product that calls home would do."""
    with contextlib.suppress(OSError):
        socket.getaddrinfo("telemetry.example.com", 443)
    for family, address in ((socket.AF_INET, "198.51.100.1"), (socket.AF_INET6, "2001:db8:1::1")):
        with contextlib.suppress(OSError), socket.socket(family) as connection:
            connection.settimeout(0.2)
            connection.connect((address, 443))


def serve() -> None:
    """Start the service, have it answer all it can, cxr-intake included, and stop it."""
    with tempfile.TemporaryDirectory() as name, Server() as server:
        _ask(server)
        Path(name, "image.dcm").write_bytes(WHOLE)
        command = [sys.executable, "-m", "app.client.intake", name, "--url", server.url, "--ledger", f"{name}/ledger"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def serve_with_tensorflow() -> None:
    """Have the other engine answer."""
    with Server(engine="tensorflow") as server:
        _ask(server)


def train() -> None:
    """Load what training and quantization need."""
    code = "import training.__main__, training.export, training.quantize, nncf; training.fit.keras.Sequential()"
    subprocess.run([sys.executable, "-c", code], check=True, stderr=subprocess.DEVNULL)


def _ask(server: Server) -> None:
    for path in ("/", "/docs", "/openapi.json", "/model", "/metrics", "/readyz", "/nowhere"):
        server.client.get(path)
    for data in (WHOLE, encode(radiograph(), "JPEG"), b"no image"):
        for path in ("/predict?explain=1&preview=1", "/explain"):
            server.client.post(path, content=data)


ACTIVITIES: Final[dict[str, Callable[[], None]]] = {
    function.__name__: function for function in (call_out, serve, serve_with_tensorflow, train)
}


def _describe(frame: bytes) -> str | None:
    """Describe an Ethernet frame that a process caused; None for the kernel's own."""
    (kind,) = struct.unpack_from("!H", frame, 12)
    if kind == _IPV4:
        return f"IPv4 to {socket.inet_ntop(socket.AF_INET, frame[30:34])}, protocol {frame[23]}"
    if kind == _IPV6 and frame[20] not in (_ICMPV6, _HOP_BY_HOP):
        return f"IPv6 to {socket.inet_ntop(socket.AF_INET6, frame[38:54])}, protocol {frame[20]}"
    return "ARP" if kind == _ARP else None


def main() -> None:
    """Do what the argument names, and print what came out of it."""
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ALL_PROTOCOLS)) as cable:
        cable.bind(("nowhere", 0))
        cable.setblocking(False)
        ACTIVITIES[sys.argv[1]]()
        while True:
            try:
                frame, (_, _, kind, *_) = cable.recvfrom(2048)
            except BlockingIOError:
                break
            if kind != socket.PACKET_OUTGOING and (packet := _describe(frame)):
                sys.stdout.write(f"{packet}\n")


if __name__ == "__main__":
    main()
