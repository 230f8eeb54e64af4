"""Engines for test_providers_workers.py; imported by the worker processes."""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Mapping
from typing import Any

from asterisk_ai.errors import ProviderRejected, ProviderUnavailable


class CountingStream:
    def __init__(self, options: Mapping[str, Any]) -> None:
        if options.get("bad"):
            raise ProviderRejected("counting", "bad options")
        self.options = options
        self.bytes = 0
        self.pieces = 0
        self.stepped = 0

    def feed(self, data: bytes) -> None:
        self.bytes += len(data)
        self.pieces += 1
        if self.options.get("slow"):
            time.sleep(self.options["slow"])
        if self.options.get("crash"):
            os._exit(3)

    def ahead(self) -> bool:
        """One step for each second kilobyte that was fed."""
        if self.bytes < 2048 * (self.stepped + 1) or not self.options.get("ahead"):
            return False
        self.stepped += 1
        return True

    def news(self) -> dict[str, Any] | None:
        return {"stepped": self.stepped}

    def finish(self) -> dict[str, Any]:
        if self.options.get("hang"):
            time.sleep(60)
        return {"bytes": self.bytes, "pieces": self.pieces, "pid": os.getpid()}

    def close(self) -> None:
        pass


class Counting:
    quantum_bytes = 640
    max_streams = 2

    def __init__(self, settings: Mapping[str, Any]) -> None:
        if settings.get("refuse"):
            raise ProviderRejected("counting", "cannot be set up")
        if settings.get("slow_start"):
            time.sleep(60)

    def open(self, options: Mapping[str, Any]) -> CountingStream:
        return CountingStream(options)

    def ask(self, question: Mapping[str, Any]) -> dict[str, Any]:
        if "fail" in question:
            raise ProviderUnavailable("counting", "no answer")
        if "bytes" in question:
            before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
            for page in (memory := bytearray(b"1") * question["bytes"])[::4096]:
                assert page
            del memory
            return {"faults": resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before}
        return {"pid": os.getpid(), "question": question}
