"""What recognisers of Whisper's kind write where nobody spoke: sounds in brackets, and words of their training's films.

Sources: https://github.com/openai/whisper/discussions/928 and /679, https://github.com/ggml-org/whisper.cpp/issues/1724,
the paper "Investigation of Whisper ASR Hallucinations Induced by Non-Speech Audio" (2501.11378).
"""

from __future__ import annotations

import re
from itertools import groupby

# [BLANK_AUDIO] (coughing) *sighs* <|nospeech|> and the like in other scripts; sung words between notes.
_SOUND = re.compile(
    r"\[[^\[\]]*\]|\([^()]*\)|\*[^*]+\*|<\|[^|>]*\|>|\u3010[^\u3011]*\u3011|\uff08[^\uff09]*\uff09"
    r"|[♪♫♬]+(?:[^♪♫♬]*[♪♫♬]+)?"
)
_NOT_WORDS = re.compile(r"[^\w']+")
_FILM = re.compile(
    r"amara ?\.?org|\bsubtitle[sd] by\b|\btranscri(?:bed|ption) by\b"
    r"|untertitel(?:ung)?\b.*\b(?:zdf|funk|swr|wdr|ard|im auftrag|von)\b|sous-titr\w* (?:soci[eé]t[eé]|réalis|st')"
    r"|subt[ií]tulos (?:realizados|por)|sottotitoli (?:creati|e revisione)|legendas? (?:pela|por)"
    r"|napisy (?:stworzone|by)|ondertite\w+ (?:door|ingediend)|субтитры (?:сделал|подготовил)|dimatorzok"
    r"|редактор субтитров|字幕",
    re.IGNORECASE,
)
_INVENTED = frozenset(
    (
        "you",
        "so",
        "thank you for watching",
        "thank you so much for watching",
        "thank you very much for watching",
        "thanks for watching",
        "thank you for listening",
        "thanks for listening",
        "please subscribe",
        "please subscribe to my channel",
        "don't forget to like and subscribe",
        "like and subscribe",
        "see you in the next video",
        "i'll see you next time",
        "to be continued",
        "vielen dank fürs zuschauen",
        "danke fürs zuschauen",
        "das war's für heute bis zum nächsten mal",
        "merci d'avoir regardé cette vidéo",
        "merci d'avoir regardé la vidéo",
        "n'oubliez pas de vous abonner",
        "gracias por ver el video",
        "gracias por ver el vídeo",
        "suscríbete al canal",
        "grazie per aver guardato il video",
        "obrigado por assistir",
        "bedankt voor het kijken",
        "dziękuję za obejrzenie",
        "продолжение следует",
        "спасибо за просмотр",
        "ご視聴ありがとうございました",
        "시청해주셔서 감사합니다",
        "谢谢观看",
        "請不吝點贊 訂閱 轉發 打賞支持明鏡與點點欄目",
        "请不吝点赞 订阅 转发 打赏支持明镜与点点栏目",
    )
)
LOOP = 8
"""So many of the same words one after the other are a loop of the decoder's."""


def without_inventions(text: str) -> str:
    """``text`` without what nobody said; empty where nothing is left."""
    plain = " ".join(_SOUND.sub(" ", text).split())
    words = _NOT_WORDS.sub(" ", plain.lower()).split()
    if not words or " ".join(words) in _INVENTED or _FILM.search(plain):
        return ""
    return "" if _loops(words) else plain


def _loops(words: list[str]) -> bool:
    """Whether one word, or some in turn, come again and again; digits may be said so."""
    for period in range(1, 7):
        turns = [tuple(words[start : start + period]) for start in range(0, len(words) - period + 1, period)]
        longest = max(len(list(same)) for _, same in groupby(turns)) if turns else 0
        if longest >= LOOP and not any(word.isdigit() for word in words):
            return True
    return False
