"""The conformance test for engines: what every call relies on, tried on yours.

Use it in a test of your own, with any test runner::

    from asterisk_ai.providers import testing

    def test_my_engine():
        testing.check_text_to_speech(lambda: MyVoice({"key": "..."}))

Each function makes the engine, runs it through a call's ways (good ones, and
being left, cancelled, stopped and asked for nonsense) and raises
:class:`NotConforming` with a line for everything that is wrong. It takes
some seconds. The engine runs on an asyncio loop of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from asterisk_ai.providers.api import (
    Hints,
    LanguageModel,
    RealtimeAgent,
    SpeechToText,
    TextToSpeech,
    TurnEnd,
    TurnRequest,
)
from asterisk_ai.providers.testing.kinds import LanguageModelTrial, SpeechToTextTrial, TextToSpeechTrial, TurnEndTrial
from asterisk_ai.providers.testing.life import (
    ABORT_SECONDS,
    LAG_SECONDS,
    PATIENCE_SECONDS,
    NotConforming,
    run,
)
from asterisk_ai.providers.testing.realtime import RealtimeTrial

__all__ = [
    "ABORT_SECONDS",
    "LAG_SECONDS",
    "PATIENCE_SECONDS",
    "NotConforming",
    "check_language_model",
    "check_realtime_agent",
    "check_speech_to_text",
    "check_text_to_speech",
    "check_turn_end",
]


def check_speech_to_text(
    make: Callable[[], SpeechToText],
    *,
    speech: bytes = b"",
    rate: int = 8000,
    hints: Hints | None = None,
    text: str | None = None,
    broken: Callable[[], SpeechToText] | None = None,
) -> None:
    """Try a recogniser.

    :param make: makes one, not started. Called several times.
    :param speech: an utterance at ``rate``, one second of silence where empty.
    :param text: the words of it, where they are to be compared.
    :param broken: makes one that cannot work (no network, a wrong key, a missing model).
    :raises NotConforming: with everything that is wrong.
    """
    run(make, SpeechToTextTrial(speech or bytes(2 * rate), rate, hints or Hints(), text), broken)


def check_language_model(
    make: Callable[[], LanguageModel],
    *,
    requests: Sequence[TurnRequest] = (),
    broken: Callable[[], LanguageModel] | None = None,
) -> None:
    """Try a language model. ``requests``: turns it should answer, beside those that are always tried."""
    run(make, LanguageModelTrial(requests), broken)


def check_text_to_speech(
    make: Callable[[], TextToSpeech],
    *,
    text: str = "Hello. We are open from nine to five.",
    broken: Callable[[], TextToSpeech] | None = None,
) -> None:
    """Try a synthesiser. ``text`` is spoken; make it two seconds of speech or more."""
    run(make, TextToSpeechTrial(text), broken)


def check_turn_end(
    make: Callable[[], TurnEnd],
    *,
    speech: bytes = b"",
    rate: int = 8000,
    broken: Callable[[], TurnEnd] | None = None,
) -> None:
    """Try what tells the end of a turn. ``speech``: a turn at ``rate``, one second of silence where empty."""
    run(make, TurnEndTrial(speech or bytes(2 * rate), rate), broken)


def check_realtime_agent(
    make: Callable[[], RealtimeAgent],
    *,
    speech: bytes = b"",
    rate: int = 8000,
    broken: Callable[[], RealtimeAgent] | None = None,
) -> None:
    """Try an engine of speech to speech.

    :param speech: an utterance at ``rate`` that is answered in more than a second of speech; nothing is answered where
        it is empty, and then only the greeting is tried.
    """
    run(make, RealtimeTrial(speech, rate), broken)
