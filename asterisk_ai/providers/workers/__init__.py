"""Worker processes for engines that hold the interpreter lock or a core.

The media loop must never share its interpreter lock with inference, so such
an engine runs in processes of its own. Each loads its models once and serves
the streams of many calls; :class:`WorkerPool` is the asyncio side (any loop,
uvloop too), :mod:`asterisk_ai.providers.workers.child` the other one.
"""

from __future__ import annotations

from asterisk_ai.providers.workers.connection import WorkerStream
from asterisk_ai.providers.workers.pool import WorkerPool
from asterisk_ai.providers.workers.pooled import PooledEngine, PooledRecogniser, PooledUtterance
from asterisk_ai.providers.workers.produce import ProducerStream, producing

__all__ = [
    "PooledEngine",
    "PooledRecogniser",
    "PooledUtterance",
    "ProducerStream",
    "WorkerPool",
    "WorkerStream",
    "producing",
]
