"""What only the collector would find."""

from __future__ import annotations

import contextlib
import gc
import logging
from collections import Counter
from collections.abc import Iterator


@contextlib.contextmanager
def uncollected() -> Iterator[None]:
    """Without the collector, and without the log, of which pytest keeps the frames of what has failed."""
    logging.disable()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        logging.disable(logging.NOTSET)


def left(kinds: tuple[type, ...]) -> Counter[str]:
    """How many objects of these kinds there are, by their names."""
    found = (type(thing) for thing in gc.get_objects())  # isinstance would look behind proxies
    return Counter(kind.__name__ for kind in found if issubclass(kind, kinds))
