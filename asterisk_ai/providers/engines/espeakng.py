"""The C library espeak-ng: loaded once, and called by one at a time, whoever in this process needs it.

Its state is the process's. To initialise it twice, once to speak and once to read words out in phones, changed the
mode of the first under it: nothing was spoken any more, and then it crashed.
Source: speak_lib.h of espeak-ng 1.52.
"""

from __future__ import annotations

import atexit
import ctypes
import functools
import os
import shutil
import tempfile
import threading
from typing import Any, Protocol

import espeakng_loader

from asterisk_ai.errors import ProviderRejected, ProviderUnavailable

NAME = "espeak"

_LONGEST_PATH = 120  # espeak-ng adds the names of its files to it
_AUDIO_OUTPUT_SYNCHRONOUS = 2
_DONT_EXIT = 0x8000
_CHARS_UTF8 = 1
_POSITION_CHARACTER = 1
_RATE = 1
_IPA = 0x02
_EVENT_WORD = 1
_LIST_TERMINATED = 0


class _Event(ctypes.Structure):
    """``espeak_EVENT``: ``text_position`` counts characters from 1, ``audio_position`` ms."""

    _fields_ = (
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", ctypes.c_char * 8),
    )


_SynthCallback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event))


class Job(Protocol):
    """One text to be spoken, and where it goes."""

    text: str
    voice: str
    words_per_minute: int
    left: bool

    def mark(self, position: int, sample: int) -> None:
        """A word begins at this character of the text, with this sample."""

    def push(self, pcm: bytes) -> None: ...

    def end(self, error: Exception | None = None) -> None: ...


class Library:
    """The one espeak-ng of this process. ``lock`` is held for whole calls of it."""

    def __init__(self) -> None:
        """Raises OSError where the library or its data cannot be used: to call it then ends the process."""
        self.lock = threading.Lock()
        self._library = ctypes.CDLL(espeakng_loader.get_library_path())
        path = espeakng_loader.get_data_path()
        data = _short_path(path).encode()
        self.sample_rate = int(self._library.espeak_Initialize(_AUDIO_OUTPUT_SYNCHRONOUS, 100, data, _DONT_EXIT))
        if self.sample_rate <= 0:
            raise OSError(f"its data cannot be read at {path}")
        self._library.espeak_TextToPhonemes.restype = ctypes.c_char_p
        self._callback = _SynthCallback(self._spoken)
        self._library.espeak_SetSynthCallback(self._callback)
        self._job: Job | None = None

    def has_voice(self, voice: str) -> bool:
        with self.lock:
            return self._select(voice)

    def speak(self, job: Job) -> None:
        """Speak one text into ``job``; blocks until it is spoken or its stream was left."""
        with self.lock:
            if not self._select(job.voice):
                job.end(ProviderRejected(NAME, f"there is no voice {job.voice!r}"))
                return
            self._library.espeak_SetParameter(_RATE, job.words_per_minute, 0)
            text = job.text.encode() + b"\0"
            self._job = job
            failed = self._library.espeak_Synth(
                text, ctypes.c_size_t(len(text)), 0, _POSITION_CHARACTER, 0, _CHARS_UTF8, None, None
            )
            self._job = None
        job.end(ProviderUnavailable(NAME, f"espeak_Synth returned {failed}") if failed else None)

    def ipa(self, word: str, voice: str) -> str:
        """How ``voice`` reads a word, in the signs of the IPA; empty where there is no such voice."""
        with self.lock:
            if not self._select(voice):
                return ""
            text = ctypes.c_char_p(word.encode())
            found = self._library.espeak_TextToPhonemes(ctypes.byref(text), _CHARS_UTF8, _IPA)
            return found.decode() if found else ""

    def _select(self, voice: str) -> bool:
        return bool(self._library.espeak_SetVoiceByName(voice.encode()) == 0)

    def _spoken(self, samples: Any, count: int, events: Any) -> int:
        """Called by espeak with each piece and what is in it; 1 makes it stop."""
        job = self._job
        if job is None or job.left:
            return 1
        for event in events if events else ():
            if event.type == _LIST_TERMINATED:
                break
            if event.type == _EVENT_WORD:
                job.mark(event.text_position - 1, event.audio_position * self.sample_rate // 1000)
        if count > 0 and samples:
            job.push(ctypes.string_at(samples, count * 2))
        return 0


def _short_path(path: str) -> str:
    """``path``, or a link to it where it is too long: espeak-ng cuts the path of its data at 160 bytes.

    The link stays: dictionaries of other languages are read through it later.
    """
    if len(path.encode()) <= _LONGEST_PATH:
        return path
    folder = tempfile.mkdtemp(prefix="espeak-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    link = os.path.join(folder, "espeak-ng-data")
    os.symlink(path, link)
    return link


_loading = threading.Lock()


def library() -> Library:
    """Loaded once: the C library's state is the process's, whatever we do."""
    with _loading:  # engines start at the same time, and a cache alone would let each of them load it
        return _loaded()


@functools.cache
def _loaded() -> Library:
    return Library()
