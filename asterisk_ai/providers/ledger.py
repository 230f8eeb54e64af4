"""What was done for a call that must not be done twice."""

from __future__ import annotations

from collections.abc import Callable, MutableMapping

MAX_ENTRIES = 100
MAX_KEPT = 1000
"""Characters of a result that are kept."""
UNKNOWN = "error: it was sent, but what came of it is not known. Do not send it again; tell the caller."


class Ledger:
    """One call's: a request that changes something is in it before it is sent, and then what came of it.

    Shared by the engines that answer the call, one after the other where one fails, and kept with the call, so that
    a server which takes it over knows as well.
    """

    def __init__(
        self, done: MutableMapping[str, str] | None = None, changed: Callable[[], None] = lambda: None
    ) -> None:
        """``done`` holds the entries; ``changed`` is told of each, to keep them."""
        self._done: MutableMapping[str, str] = {} if done is None else done
        self._changed = changed

    def result(self, key: str) -> str | None:
        """What came of it, :data:`UNKNOWN` where that is open; None where it was never begun."""
        return self._done.get(key)

    def begin(self, key: str) -> None:
        """It is about to be sent."""
        self._put(key, UNKNOWN)

    def end(self, key: str, result: str) -> None:
        """It was answered."""
        self._put(key, result[:MAX_KEPT])

    def drop(self, key: str) -> None:
        """It was not sent after all."""
        self._done.pop(key, None)
        self._changed()

    def _put(self, key: str, text: str) -> None:
        self._done[key] = text
        while len(self._done) > MAX_ENTRIES:
            del self._done[next(iter(self._done))]
        self._changed()
