"""Sound files that an agent speaks with: Asterisk's own prompts, custom recordings, ambience."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import soundfile

from asterisk_ai.audio.ambience import looped
from asterisk_ai.audio.resample import Resampler
from asterisk_ai.config.schema import AgentConfig
from asterisk_ai.errors import ProviderRejected

logger = logging.getLogger(__name__)

_SLIN = {"": 8000, "12": 12_000, "16": 16_000, "24": 24_000, "32": 32_000, "44": 44_100, "48": 48_000, "96": 96_000}
_RAW: dict[str, tuple[str, int]] = {
    **dict.fromkeys(("ulaw", "ul", "pcm", "mu"), ("ULAW", 8000)),
    **dict.fromkeys(("alaw", "al"), ("ALAW", 8000)),
    "gsm": ("GSM610", 8000),
    **{f"sln{name}": ("PCM_16", rate) for name, rate in _SLIN.items()},
    "raw": ("PCM_16", 8000),
}
"""Formats without a header: coding, and rate in Hz. Source: formats/format_*.c."""
EXTENSIONS = ("wav", "wav16", "sln", "sln16", "ulaw", "alaw", "gsm", "WAV", "wav49", "flac", *_RAW)
"""Where a sound is there in several formats, the first of these is taken."""
MAX_SECONDS = 600.0
AMBIENCE_RATES = (8000, 16_000)
"""On lines of other rates there is no ambience."""


class Sounds:
    """The sounds of Asterisk, found as it finds them: ``NAME.EXT`` below a folder of the language, or beside those.

    :param folder: Asterisk's ``sounds``.
    :param language: of the agent, such as ``en-US``.
    """

    def __init__(self, folder: Path, language: str) -> None:
        self.folder = folder
        base = language.partition("-")[0].lower()
        self._languages = dict.fromkeys((language, language.replace("-", "_"), base, ""))

    def find(self, name: str) -> Path | None:
        """The file of a sound, by the name that ``Playback()`` takes, or by its path with or without an extension."""
        return next((path for path in self._candidates(name) if path.is_file()), None)

    def _candidates(self, name: str) -> Iterator[Path]:
        for language in self._languages:
            place = self.folder / language / name  # a whole path leads away from both
            if place.suffix.removeprefix(".") in EXTENSIONS:
                yield place
            for extension in dict.fromkeys(EXTENSIONS):
                yield place.with_name(f"{place.name}.{extension}")

    def read(self, name: str, rate: int) -> bytes:
        """The sound's audio at ``rate``. Reads a disk, and may take a second: not for the event loop.

        :raises ProviderRejected: there is no such sound, or it cannot be read.
        """
        path = self.find(name)
        if path is None:
            where = ", ".join(language or "none" for language in self._languages)
            what = f"no sound {name!r} in {self.folder} (languages {where}; formats {', '.join(EXTENSIONS[:8])})"
            raise ProviderRejected("sounds", what)
        try:
            samples, made = _samples(path)
        except (OSError, soundfile.LibsndfileError) as error:
            raise ProviderRejected("sounds", f"{path} cannot be read: {error}") from error
        resampler = Resampler(made, rate)
        return resampler.push(samples) + resampler.flush()


def _samples(path: Path) -> tuple[bytes, int]:
    """One channel of a file, and its rate."""
    coding, rate = _RAW.get(path.suffix.removeprefix("."), ("", 0))
    if coding:
        endian = "LITTLE" if coding == "PCM_16" else None
        opened = soundfile.SoundFile(path, samplerate=rate, channels=1, format="RAW", subtype=coding, endian=endian)
    else:
        opened = soundfile.SoundFile(path)
    with opened as file:
        found = file.read(int(MAX_SECONDS * file.samplerate), dtype="int16", always_2d=True)
        return np.ascontiguousarray(found[:, 0]).astype("<i2").tobytes(), file.samplerate


def ambience_of(agent: AgentConfig, sounds: Sounds) -> Mapping[int, bytes]:
    """The agent's ambience by the rate that it is for, ready to be repeated; empty where there is none.

    One that cannot be read is told in the log: no call fails for it.
    """
    if not agent.ambience:
        return {}
    try:
        return {rate: looped(sounds.read(agent.ambience, rate), rate, agent.ambience_dbov) for rate in AMBIENCE_RATES}
    except (ProviderRejected, ValueError) as error:
        logger.error("agents.%s.ambience: %s: %s", agent.name, agent.ambience, error)
        return {}
