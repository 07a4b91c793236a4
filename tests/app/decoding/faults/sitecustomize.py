"""What can be wrong with a decoder, brought about by how an upload ends. Python runs this first where it is found."""

import os
import signal
import sys
import time


def hang() -> None:
    while True:
        pass


def sleep() -> None:
    time.sleep(3600)


def crash() -> None:
    os.kill(os.getpid(), signal.SIGSEGV)


def eat_memory() -> None:
    eaten = []
    while True:
        eaten.append(bytearray(2**20))


def be_killed() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def end() -> None:
    os._exit(0)


def stumble() -> None:
    raise KeyError("Zzyzx")


def lie() -> None:
    os.write(0, b"\xff" * 100)


def chatter() -> None:
    os.write(1, b"Zzyzx\n")
    os.write(2, b"Zzyzx\n")


FAULTS = {function.__name__.encode(): function for function in (
    hang, sleep, crash, eat_memory, be_killed, end, stumble, lie, chatter
)}  # fmt: skip

if "app.decoding.nursery" in sys.orig_argv:
    import app.imaging.decode as module

    decode = module.decode

    def faulty_decode(data: bytes, limits: object) -> object:
        for name, fault in FAULTS.items():
            if data.endswith(name):
                fault()
        return decode(data, limits)

    module.decode = faulty_decode
