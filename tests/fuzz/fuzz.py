"""Fuzzing: ``python tests/fuzz/fuzz.py [TARGET ...] [--messages N] [--seconds S] [--seed N] [--atheris]``.

Without ``--atheris`` (which is guided by coverage, and needs that package) inputs are made from the corpora by changing
them at random; the seed makes it the same again. What fails is written to ``tests/fuzz/corpora/TARGET/``, where the
tests try it ever after (``tests/unit/test_fuzz.py``).
"""

from __future__ import annotations

import argparse
import hashlib
import random
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path

from targets import TARGETS

CORPORA = Path(__file__).parent / "corpora"
MAX_INPUT = 20_000
SLOW_SECONDS = 2.0
"""An input that takes longer is a finding, too."""
_TOKENS = (
    b"\x00", b"\xff", b"\n", b"\r\n", b"\n\n", b":", b"?", b"=", b"&", b'"', b"\\", b"{", b"}", b"[", b"]", b"*a",
    b"&a ", b"<<: ", b"- ", b"\x10\x01\x40", b"\x11\x02\x80", b"\x03\x00\x01", b"\x01\x00\x10", b"HANGUP\n",
    b"200 result=", b"520-", b"520 End of proper usage.\n", b"agi_arg_1: ", b"9" * 30, b"-1", b"1e309", b"null",
    b"true", b"\xed\xa0\x80", b"\xf0\x9f\x98\x80", b"MEDIA_START ", b"${A}", b"HTTP/1.1\r\n", b"\r\n\r\n",
)  # fmt: skip


def corpus(target: str) -> list[bytes]:
    """Inputs that are kept: usual messages, and what was once wrong."""
    return [path.read_bytes() for path in sorted((CORPORA / target).iterdir())]


def changed(source: random.Random, inputs: list[bytes]) -> bytes:
    """One of them, with some changes."""
    data = bytearray(source.choice(inputs))
    for _ in range(1 << source.randrange(6)):
        at, kind = source.randrange(len(data) + 1), source.randrange(7)
        end = min(len(data), at + source.randrange(1, 40))
        if kind == 0 and at < len(data):
            data[at] ^= 1 << source.randrange(8)
        elif kind == 1 and at < len(data):
            data[at] = source.randrange(256)
        elif kind == 2:
            data[at:at] = source.choice(_TOKENS)
        elif kind == 3:
            del data[at:end]
        elif kind == 4:
            data[at:at] = data[at:end] * source.randrange(1, 4)
        elif kind == 5:
            other = source.choice(inputs)
            cut = source.randrange(len(other) + 1)
            data[at:end] = other[cut : cut + source.randrange(1, 200)]
        else:
            data[at:at] = source.randbytes(source.randrange(1, 20))
    return bytes(data[:MAX_INPUT])


def attempt(target: str, data: bytes) -> int:
    """Messages that were read. Raises what the target does, or AssertionError where it took too long."""
    began = time.monotonic()
    read = TARGETS[target](data)
    took = time.monotonic() - began
    assert took < SLOW_SECONDS, f"{took:.1f} s for {len(data)} bytes"
    return read


def fuzz(target: str, source: random.Random, done: Callable[[int, float], bool]) -> int:
    """Until ``done(messages, seconds)``; what fails is kept, and raised."""
    inputs, messages, began = corpus(target), 0, time.monotonic()
    while not done(messages, time.monotonic() - began):
        for _ in range(50):
            data = changed(source, inputs)
            try:
                messages += attempt(target, data)
            except BaseException:
                path = CORPORA / target / f"found-{hashlib.sha256(data).hexdigest()[:12]}"
                path.write_bytes(data)
                print(f"{target}: {path}")
                raise
    return messages


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("targets", nargs="*", default=[], choices=[*TARGETS, []], metavar="TARGET")
    parser.add_argument("--messages", type=int, default=0, metavar="N", help="of each target")
    parser.add_argument("--seconds", type=float, default=60.0, metavar="S", help="of each target, at the longest")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--atheris", action="store_true", help="one target, guided by coverage, until it is stopped")
    arguments = parser.parse_args()
    if arguments.atheris:
        import atheris

        [name] = arguments.targets
        atheris.instrument_all()
        atheris.Setup([sys.argv[0], str(CORPORA / name)], lambda data: void(attempt(name, data)))
        atheris.Fuzz()
    total = 0
    for name in arguments.targets or TARGETS:
        before, began = memory(), time.monotonic()
        most = arguments.messages or sys.maxsize
        messages = fuzz(
            name,
            random.Random(arguments.seed),
            lambda read, seconds, most=most: read >= most or seconds > arguments.seconds,  # type: ignore[misc]
        )
        total += messages
        seconds = time.monotonic() - began
        print(f"{name}: {messages:,} messages in {seconds:.0f} s, {memory() - before:+.0f} MB", flush=True)
    print(f"{total:,} messages in all")


def memory() -> float:
    """The most that was in use, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def void(_: int) -> None: ...


if __name__ == "__main__":
    main()
