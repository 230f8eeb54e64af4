"""Reading a configuration in a process of its own, for a server whose callers must not notice.

YAML is slow to read, and a file may be written so that it is slower still: 4 MiB stop an event loop for seconds, in a
thread as well, which shares the interpreter's lock with the audio.
"""

from __future__ import annotations

import asyncio
import pickle
import sys
from collections.abc import Sequence

from asterisk_ai.config.loader import load
from asterisk_ai.config.schema import Config
from asterisk_ai.errors import ConfigError

SECONDS = 10.0
"""A configuration that takes longer is refused."""


async def load_apart(path: str | None, *, seconds: float = SECONDS, command: Sequence[str] = ()) -> Config:
    """As :func:`asterisk_ai.config.load`, without stopping the event loop.

    :param command: what reads it, for tests.
    :raises ConfigError: as load does, and where it takes longer than ``seconds``.
    """
    process = await asyncio.create_subprocess_exec(
        *(command or (sys.executable, "-m", __name__, path or "")),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(seconds):
            answer, trouble = await process.communicate()
    except TimeoutError:
        raise ConfigError(f"is not read within {seconds:g} s: make it smaller", file=path or "") from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode:
        last = trouble.decode("utf-8", "replace").strip().rpartition("\n")[2]
        raise ConfigError(f"cannot be read (status {process.returncode}): {last}", file=path or "")
    found = pickle.loads(answer)  # noqa: S301 - our own process's
    if isinstance(found, ConfigError):
        raise found
    return found  # type: ignore[no-any-return]


def main(path: str) -> None:
    """Write what load returns or raises to standard output."""
    found: Config | ConfigError
    try:
        found = load(path or None)
    except ConfigError as error:
        found = error
    sys.stdout.buffer.write(pickle.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1])
