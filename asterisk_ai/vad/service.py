"""Voice activity detection for all calls of a server: the model in a thread of its own, detectors for calls."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import Any

from asterisk_ai.config.schema import VadConfig
from asterisk_ai.errors import ProviderError
from asterisk_ai.vad.batch import BatchedModel, Floats, Model
from asterisk_ai.vad.energy import EnergyVad, Onset, VadParams
from asterisk_ai.vad.speech import GATE, SpeechParams, SpeechVad

logger = logging.getLogger(__name__)

_NICE = 10


def load_model() -> Model:
    """The model of the ``silero`` engine. Raises ProviderRejected with what to do."""
    try:
        from asterisk_ai.vad.silero import SileroModel
    except ImportError as error:
        from asterisk_ai.errors import ProviderRejected

        raise ProviderRejected("silero", f"its runtime is not installed: pip install onnxruntime ({error})") from error
    return SileroModel()


def _nice() -> None:
    """The frames of calls go first: the media loop does not wait for this thread's turn on a core to end."""
    os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICE)


def _thread() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(1, thread_name_prefix="vad", initializer=_nice)


class VadService:
    """Makes the detectors of new calls. Lives on the media loop; the model is run by a thread of its own.

    onnxruntime lets go of the interpreter lock while it works. On two busy
    cores, with 64 callers speaking, the clock was 10 ms late at the 99th
    percentile with the thread, 66 ms with the model run on the loop, and
    2 ms without a model. What it finds is told at once, without a task.
    While it works chunks gather, so that runs become longer and fewer the
    more there is to do.
    """

    def __init__(
        self,
        config: VadConfig,
        load: Callable[[], Model] = load_model,
        loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        """:param loop: the media loop, on which :meth:`flush` is called as soon as there is something to tell."""
        self._load = load
        self._loop = loop
        self._flush_due = False
        self._threads = _thread()
        self._model: BatchedModel | None = None
        self._config = config
        self._problem = ""
        if self._wanting():
            self._use(self._loaded())

    async def change(self, config: VadConfig) -> None:
        """The configuration of new calls. Loads the model, aside, where it is needed and there is none that works."""
        self._config = config
        if self._wanting():
            self._use(await asyncio.to_thread(self._loaded))

    def _wanting(self) -> bool:
        return self._config.engine == "silero" and (self._model is None or self._model.broken)

    def _loaded(self) -> Model | ProviderError:
        try:
            return self._load()
        except ProviderError as error:
            return error

    def _use(self, model: Model | ProviderError) -> None:
        if isinstance(model, ProviderError):
            self._failed(model)
            return
        if self._model is not None:  # the thread may still be in the run that came to no end
            self._threads.shutdown(wait=False, cancel_futures=True)
            self._threads = _thread()

        def start(samples: Floats, state: Floats) -> Future[tuple[Floats, Floats]]:
            run = self._threads.submit(model, samples, state)
            run.add_done_callback(self._run_ended)
            return run

        self._problem = ""
        self._model = BatchedModel(start, self._failed, soon=self._flush_soon)

    def _run_ended(self, _: object) -> None:
        """On the model's thread."""
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody listens any more
                self._loop.call_soon_threadsafe(self._flush_soon)

    def _flush_soon(self) -> None:
        if self._loop is not None and not self._flush_due:
            self._flush_due = True
            self._loop.call_soon(self._flush_now)

    def _flush_now(self) -> None:
        self._flush_due = False
        self.flush(time.monotonic())

    def _failed(self, error: Exception) -> None:
        self._problem = str(error)
        logger.error("voice activity is told by the level alone, which noise and music deceive: %s", error)

    def flush(self, now: float) -> None:
        """Tell calls what was found in what they have heard. Called before each of the clock's ticks."""
        if self._model is not None:
            self._model.flush(now)

    def detector(
        self, rate: int, on_onset: Callable[[Onset], None], *, hangover: float = VadParams().hangover
    ) -> EnergyVad:
        """For one call whose audio has ``rate`` Hz; ``on_onset`` is told of those that are found between its frames.

        :param hangover: seconds without voice that end speech.
        """
        model = self._model
        if self._config.engine != "silero" or model is None or model.broken:
            return EnergyVad(rate, VadParams(hangover=hangover))
        threshold = self._config.threshold
        params = SpeechParams(onset=threshold, offset=min(SpeechParams().offset, threshold))
        return SpeechVad(rate, model, on_onset, replace(GATE, hangover=hangover), params)

    def status(self) -> Mapping[str, Any]:
        """For /health: the engine that is at work, and why it is not the configured one."""
        well = self._config.engine == "silero" and not self._problem
        return {"engine": "silero" if well else "energy", "problem": self._problem * (self._config.engine == "silero")}

    def close(self) -> None:
        """No more calls."""
        self._threads.shutdown(wait=False, cancel_futures=True)
