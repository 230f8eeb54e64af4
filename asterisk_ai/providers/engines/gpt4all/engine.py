"""The model in a worker process. One answer is generated at a time, a token a step; the others wait in line."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from asterisk_ai.errors import ProviderRejected, ProviderUnavailable
from asterisk_ai.providers.boundary import engine_boundary, library_boundary
from asterisk_ai.providers.engines.gpt4all import NAME
from asterisk_ai.providers.workers import ProducerStream


class Gpt4AllEngine:
    """An :class:`~asterisk_ai.providers.workers.child.Engine`. Settings: ``model``, ``context``, ``threads``."""

    quantum_bytes = 2
    max_streams = 1
    """The library has one context: a second answer would forget the first one's beginning."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        path = Path(settings["model"])
        if not path.is_file():
            raise ProviderRejected(NAME, f"there is no model {path}")
        with library_boundary(NAME, f"{path.name} cannot be loaded"):
            from gpt4all import GPT4All

            self._model = GPT4All(
                path.name,
                model_path=path.parent,
                allow_download=False,
                n_ctx=int(settings["context"]),
                n_threads=int(settings["threads"]) or None,
                device="cpu",
            )
        if not _is_loaded(self._model.model):
            raise ProviderRejected(NAME, f"{path.name} cannot be loaded: it is no model that this library can run")

    def ask(self, question: Mapping[str, Any]) -> Mapping[str, Any]:
        return {}

    def open(self, options: Mapping[str, Any]) -> ProducerStream:
        return ProducerStream(self._answer(options))

    def _answer(self, options: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
        """Text as it is made. What may be the beginning of a stop text is held back."""
        stops = [str(stop) for stop in options["stop"]]
        held = max((len(stop) for stop in stops), default=1) - 1
        text, sent = "", 0
        generation = _Generation(self._model.model, options)
        try:
            for token in generation.tokens():
                text += token
                end = min((place for place in (text.find(stop) for stop in stops) if place >= 0), default=-1)
                ready = end if end >= 0 else max(sent, len(text) - held)
                yield {"text": text[sent:ready]}
                sent = ready
                if end >= 0:
                    return
            yield {"text": text[sent:]}
        finally:
            generation.leave()


def _is_loaded(model: Any) -> bool:
    """Whether the library has it: where loading fails, it says so with a value that its own constructor ignores."""
    from gpt4all import _pyllmodel

    return bool(_pyllmodel.llmodel.llmodel_isModelLoaded(model.model))


class _Generation:
    """One answer in the making, in a thread: the library calls back and does not return before the end."""

    def __init__(self, model: Any, options: Mapping[str, Any]) -> None:
        self._tokens: queue.SimpleQueue[str | ProviderUnavailable | None] = queue.SimpleQueue()
        self._left = False
        self._thread = threading.Thread(target=self._run, args=(model, options), daemon=True)
        self._thread.start()

    def _run(self, model: Any, options: Mapping[str, Any]) -> None:
        try:
            with engine_boundary(NAME):
                model.prompt_model(
                    options["prompt"],
                    "%1",
                    self._made,
                    n_predict=int(options["max_tokens"]),
                    temp=float(options["temperature"]),
                    reset_context=True,
                    special=True,
                )
        except ProviderUnavailable as error:  # told by tokens()
            self._tokens.put(error)
        else:
            self._tokens.put(None)

    def _made(self, number: int, text: str) -> bool:
        # The library tells its errors (a prompt that is too long) as text with the number -1: not to be read out.
        self._tokens.put(text if number >= 0 else ProviderUnavailable(NAME, f"cannot answer: {text}"[:200]))
        return not self._left

    def tokens(self) -> Iterator[str]:
        while (token := self._tokens.get()) is not None:
            if isinstance(token, ProviderUnavailable):
                raise token
            yield token

    def leave(self) -> None:
        """It ends at its next token; the model is free afterwards."""
        self._left = True
        self._thread.join()
