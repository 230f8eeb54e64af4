"""Connections for those who look for a media fault or measure: no conversation, so the caller's audio needs no call."""

from __future__ import annotations

import asyncio
import socket

from asterisk_ai.protocol import audiosocket
from asterisk_ai.transport.audiosocket.connection import AudioSocketConnection

RARELY_FRAMES = 5
"""Where nobody waits for them: a read for each is a seventh of what a call costs that only plays."""


_LOOK_SECONDS = 0.55
"""How often an echo looks whether anything came; at the second time that nothing did (1.1 to 1.65 s) it sends silence.
"""


class EchoConnection(AudioSocketConnection):
    """Sends back each frame as it came, and nothing between them: the clock has no part in it.

    So what is heard is what the line does: a pause of the caller's audio is one
    of the echo, too. What comes in one read goes out in one write: with a
    write for each frame, a thousand echoes never got rid of the backlog of a
    standstill of 100 ms.
    """

    _heard = False  # anything, since it was last looked at
    _quiet = False  # nothing, when it was last looked at

    def _begin_sending(self) -> None:
        self._heard = True
        self._keep_call()

    def _keep_call(self) -> None:
        """Send silence where there is nothing to send back: Asterisk gives up a call without audio after 2 s."""
        if self._quiet and not self._heard:
            self._echo(self._idle)
        self._heard, self._quiet = False, not self._heard
        self._timer = asyncio.get_running_loop().call_later(_LOOK_SECONDS, self._keep_call)

    def data_received(self, data: bytes) -> None:
        self._heard = True
        if len(data) > audiosocket.FRAME_MESSAGE and self._is_ahead(len(data)):
            return
        if self._hear is None or self._behind or not self._reader.whole_frames(data):
            self._take_in(data)
        else:
            self._write(data)

    def _take(self, events: list[audiosocket.Event]) -> None:
        audio = [event for event in events if isinstance(event, audiosocket.Audio)]
        if audio and not self._playing:
            self._begin(audio[0].rate)
        # Before anything else that came with it, such as a hang-up, is looked at.
        self._echo(b"".join(audiosocket.audio_message(each.rate, each.pcm) for each in audio if each.rate == self.rate))
        super()._take(events)

    def _echo(self, messages: bytes) -> None:
        if messages and self._fd >= 0 and not (self._behind and self._stalled()):
            self._write(messages)


class ToneConnection(AudioSocketConnection):
    """Plays one frame without end, and hears the caller only now and then."""

    def repeat(self, frame: bytes) -> None:
        """Send ``frame`` (20 ms at :attr:`rate`) wherever nothing is queued."""
        self._idle = self._header + frame
        # The end of the connection is still told at once.
        self._set_option(socket.SOL_SOCKET, socket.SO_RCVLOWAT, RARELY_FRAMES * len(self._idle))
