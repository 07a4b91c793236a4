"""The process that forks decoders: ``python -m app.decoding.nursery``, started by the service alone.

It imports what reads uploads once, then waits for orders on its standard input, a socket. When that ends, which it
does however the service ends, it kills what it has forked and goes. It is asked to kill too, since only a parent can
be sure that a process id still is its child's.
"""

import gc
import os
import signal
import socket
import sys
from typing import Final

import imagecodecs
from PIL import Image

from app.decoding.decoder import serve
from app.decoding.fences import raise_fences
from app.decoding.messages import ORDER, READY, REPLY, START, Terms

_LAZY_CODECS: Final = ("jpeg2k_decode", "jpeg8_decode", "jpegls_decode", "packbits_decode")
"""What ``app.imaging.codecs`` calls: imagecodecs imports it at the first use, which a decoder cannot."""


def main() -> None:
    """Take orders until standard input ends."""
    terms = Terms.from_json(sys.argv[1])
    Image.init()  # all of Pillow's formats, which it too imports as it needs them
    for name in _LAZY_CODECS:
        getattr(imagecodecs, name)
    gc.collect()
    _silence()
    control = socket.socket(fileno=os.dup(0))
    control.sendall(READY)
    children: set[int] = set()
    while True:
        order, descriptors, _, _ = socket.recv_fds(control, ORDER.size, 1)
        if len(order) < ORDER.size:
            break
        command, pid = ORDER.unpack(order)
        if command == START:
            reply = _fork(control, descriptors[0], terms)
            if reply > 0:
                children.add(reply)
        else:
            reply = _end(pid)
            children.discard(pid)
        control.sendall(REPLY.pack(reply))
    for pid in children:
        _end(pid)


def _fork(control: socket.socket, descriptor: int, terms: Terms) -> int:
    parent = os.getpid()
    try:
        pid = os.fork()
    except OSError as error:
        pid = -(error.errno or 1)
    if pid:
        os.close(descriptor)
        return pid
    # Nothing may return from here into the loop of the parent.
    try:
        control.close()
        os.dup2(descriptor, 0)
        os.close(descriptor)
        raise_fences(terms.limits, parent)
        serve(socket.socket(fileno=0), terms)
        os._exit(0)
    finally:
        os._exit(1)


def _end(pid: int) -> int:
    os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status)


def _silence() -> None:
    """Drop what is printed from now on: libraries in C quote what they choked on."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    os.close(nowhere)


if __name__ == "__main__":
    main()
