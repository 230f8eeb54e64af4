"""An agent on the real Asterisk whose callers say prompts of Asterisk's own sound package."""

from __future__ import annotations

import re
from typing import Any

GREETING = "Hello, how can I help you?"
LONG = " ".join(["This answer is long, so that there is time to interrupt it."] * 6)

# Prompts that play a part in its conversations.
WEASELS = "tt-weasels"  # weasels have eaten our phone system
NUMBER = "check-number-dial-again"  # please check the number and dial again
CONNECT = "vm-dialout"  # please wait while i connect your call
WRONG = "something-terribly-wrong"  # something is terribly wrong
NOBODY = "vm-nobodyavail"  # nobody is available to take your call at the moment
SAVED = "vm-msgsaved"  # your message has been saved
FULL = "conf-full"  # that conference is full


def desk(prompts: dict[str, str]) -> dict[str, Any]:
    """An agent whose intents show each thing that the dialplan can be asked for."""

    def say(prompt: str) -> list[str]:
        return [" ".join(re.sub(r"[^a-z' ]", " ", prompts[prompt].lower()).split())]

    return {
        "greeting": GREETING,
        "closing": "Thank you for calling. Goodbye.",
        "turn": {"no_input_seconds": 30},
        "rules": {
            "slots": {
                "account": {
                    "digits": 4,
                    "ask": "Please say or dial your account number.",
                    "keep": True,
                }
            },
            "intents": {
                "tell": {"say": say(WEASELS), "answer": LONG},
                "note": {"say": say(NUMBER), "ask": ["account"], "answer": "I have noted your account."},
                "connect": {"say": say(CONNECT), "ask": ["account"], "do": {"transfer": "{account}@landed"}},
                "problem": {"say": say(WRONG), "answer": "One moment.", "do": {"queue": "support"}},
                "message": {"say": say(NOBODY), "do": {"voicemail": "100@default"}},
                "goodbye": {"say": say(SAVED), "do": "hangup"},
                "short": {"say": say(FULL), "answer": "That is a pity."},
                "menu": {"answer": "You pressed two.", "do": {"transfer": "602@landed"}},
                "queue": {"answer": "One moment.", "do": {"queue": "none-such"}},
                "nowhere": {"answer": "One moment.", "do": {"transfer": "602@none-such"}},
                "box": {"answer": "One moment.", "do": {"voicemail": "999@default"}},
                "who": {"answer": "You are {caller.number} {caller.name}."},
            },
            "dtmf": {"2": "menu", "5": "who", "7": "queue", "8": "nowhere", "9": "box"},
        },
    }
