"""Text without its markup: Markdown, HTML, SSML, emoji. Signs that mean something stay.

The text is looked at letter by letter, so that it does not matter in which pieces it comes. Nothing waits for longer
than its line or :data:`MAX_HELD` letters.
"""

from __future__ import annotations

import html
import re
import unicodedata

MAX_HELD = 300
"""So far a mark is looked for that closes one; without it the opening one is a letter like any other."""
SHORT_LINE = 40
"""A line that is no longer is one by itself; a longer one was only wrapped."""
_BULLET = re.compile(r"[ \t]*([-*+•‣◦▪·–—])[ \t]+")
_NUMBERED = re.compile(r"[ \t]*(\d{1,3})[.)][ \t]+")
_HEADING = re.compile(r"[ \t]*#{1,6}[ \t]+(?=\S)")
_QUOTE = re.compile(r"[ \t]*>[ \t]*")
_MAY_BE_BLOCK = re.compile(r"[ \t]*(?:#{0,6}[ \t]*|[-*+•‣◦▪·–—][ \t]*|\d{1,3}(?:[.)][ \t]*)?|>[ \t]*)")
_RULE = re.compile(r"[ \t]*(?:([-*_=])[ \t]*)(?:\1[ \t]*){2,}")
_MAY_BE_RULE = re.compile(r"[ \t]*(?:-[- \t]*|\*[* \t]*|_[_ \t]*|=[= \t]*)")
_TAG = re.compile(r"<(?:/?([a-zA-Z][\w:-]*)[^<>\n]*|!--[^\n]*?--|\|[^|<>\n]{1,60}\|)>")
_MAY_BE_TAG = re.compile(r"<(?:[/!|]?|/?[a-zA-Z][^<>\n]*|!-[^\n]*|\|[^|<>\n]*\|?)")
_ADDRESS = re.compile(r"<((?:https?://|mailto:)?[^<>\s]+@?[^<>\s]*\.[^<>\s]+)>")
_LINK = re.compile(r"\[([^\[\]\n]*)\](?:\([^()\n]*(?:\([^()\n]*\)[^()\n]*)*\)|\[[^\[\]\n]*\])")
_MAY_BE_LINK = re.compile(r"\[[^\[\]\n]*(?:\](?:\([^)\n]*(?:\([^()\n]*\)[^()\n]*)*|\[[^\[\]\n]*)?)?")
_FOOTNOTE = re.compile(r"\[\^?\d{1,3}\]|\[\^[\w-]{1,30}\]")
_SOURCE = re.compile(r"【[^【】\n]*】")
_ENTITY = re.compile(r"&(?:#\d{1,7}|#[xX][0-9a-fA-F]{1,6}|[a-zA-Z][a-zA-Z0-9]{1,31});")
_MAY_BE_ENTITY = re.compile(r"&(?:#[0-9a-zA-Z]{0,8}|[a-zA-Z][a-zA-Z0-9]{0,31})?")
_BREAKS = frozenset("br p div li ul ol tr h1 h2 h3 h4 h5 h6 break s speak table".split())
_DROPPED = frozenset("So Sk Cn Co Cs Cf Me Cc".split())
_KEPT = "°´^¨"
_ARROWS = frozenset("→⇒➔➜←↔▶►")


class Plain:
    """Gives the text without its markup; a line break stands where a speaker would pause.

    What it gives for a plain text is that text, white space aside.
    """

    def __init__(self) -> None:
        self._held = ""
        self._start = True  # of a line
        self._block = False  # the line is an item, a heading, a row: its end is a pause
        self._letters = 0  # in this line
        self._last = "\n"
        self._open = ""  # marks of emphasis that wait for their other half
        self._out: list[str] = []

    def push(self, text: str) -> str:
        for letter in text:
            if letter != "\r":
                self._held += letter
                self._advance(last=False)
        return self._take()

    def flush(self) -> str:
        """The text is over."""
        self._advance(last=True)
        out = self._take()
        self.forget()
        return out

    def forget(self) -> None:
        """What is held was not meant to be heard."""
        self._held, self._start, self._block, self._letters, self._last, self._open = "", True, False, 0, "\n", ""

    def _take(self) -> str:
        out = "".join(self._out)
        self._out.clear()
        return out

    def _advance(self, *, last: bool) -> None:
        while self._held:
            done = self._begin_line(last) if self._start else self._inline(last)
            if not done:
                return

    def _give(self, text: str) -> None:
        """White space is never doubled, and a line's end takes the blank before it away later."""
        for letter in text:
            given = " " if letter.isspace() and letter != "\n" else letter
            if (given == " " and self._last.isspace()) or (given == "\n" and self._last == "\n"):
                continue
            self._out.append(given)
            self._last = given

    # ---- the beginning of a line ---------------------------------------------------

    def _begin_line(self, last: bool) -> bool:
        held = self._held
        line, ends, _ = held.partition("\n")
        whole = bool(ends) or last or len(held) > MAX_HELD
        if not whole and (_MAY_BE_BLOCK.fullmatch(held) or _MAY_BE_RULE.fullmatch(held)):
            return False
        if whole and _RULE.fullmatch(line):
            self._held = held[len(line) :]
        elif held.lstrip(" \t").startswith("|"):
            if not whole:
                return False
            self._held = held[len(line) :]
            self._row(line)
            return True
        else:
            self._mark(held)
        self._start = False
        return True

    def _mark(self, held: str) -> None:
        """Take the mark of an item, a heading or a quotation away."""
        while quote := _QUOTE.match(held):
            held = held[quote.end() :]
        if numbered := _NUMBERED.match(held):
            self._give(f"\n{numbered[1]}. ")
        elif found := _HEADING.match(held) or _BULLET.match(held):
            self._give("\n")
            numbered = found
        self._block = numbered is not None
        self._held = held[numbered.end() :] if numbered else held
        self._letters = 0

    def _row(self, line: str) -> None:
        self._start, self._block = False, True
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if not all(re.fullmatch(r":?-*:?", cell) for cell in cells):
            self._give("\n")
            self._held = ", ".join(filter(None, cells)) + self._held

    # ---- within a line ---------------------------------------------------------------

    def _inline(self, last: bool) -> bool:
        """Take one thing off the front; False where more text has to decide what it is."""
        head = self._held[0]
        whole = last or len(self._held) > MAX_HELD or "\n" in self._held
        match head:
            case "\n":
                self._end_line()
            case "\\":
                return self._escape(last)
            case "&":
                return self._entity(whole)
            case "<":
                return self._tag(whole)
            case "*" | "_":
                return self._emphasis(head, last, whole)
            case "~":
                return self._tilde(last)
            case "[" | "!" | "【":
                return self._link(whole, last)
            case _:
                self._letter(head)
        return True

    def _escape(self, last: bool) -> bool:
        if len(self._held) == 1 and not last:
            return False
        self._shift(1)
        if self._held and not self._held[0].isalnum() and self._held[0] != "\n":
            self._shift(1, self._held[0])
        return True

    def _tilde(self, last: bool) -> bool:
        """One of them is "about", two cross something out."""
        run = len(self._held) - len(self._held.lstrip("~"))
        if run == len(self._held) <= MAX_HELD and not last:
            return False
        self._shift(run, "~" if run == 1 else "")
        return True

    def _shift(self, count: int, given: str = "") -> None:
        self._held = self._held[count:]
        self._letters += count
        self._give(given)

    def _letter(self, letter: str) -> None:
        given = letter
        if letter in _ARROWS or letter == "|":
            given = ", "
        elif letter in "`]{}" or (letter not in _KEPT and unicodedata.category(letter) in _DROPPED):
            given = " " if letter.isascii() and letter not in "`]{}" else ""
        self._shift(1, given)

    def _end_line(self) -> None:
        self._held = self._held[1:]
        self._give("\n" if self._block or self._letters <= SHORT_LINE else " ")
        self._start, self._block, self._letters, self._open = True, False, 0, ""

    def _entity(self, whole: bool) -> bool:
        if not whole and _MAY_BE_ENTITY.fullmatch(self._held):
            return False
        found = _ENTITY.match(self._held)
        meant = html.unescape(found[0]) if found else "&"
        if found and meant != found[0]:
            self._held = meant + self._held[found.end() :]  # &lt;b&gt; is a tag, too
            if meant.startswith("&"):
                self._shift(1, "&")
        else:
            self._shift(1, "&")
        return True

    def _tag(self, whole: bool) -> bool:
        address, tag = _ADDRESS.match(self._held), _TAG.match(self._held)
        if address and (not tag or "@" in address[1] or "://" in address[1]):
            self._held = address[1] + self._held[address.end() :]
        elif tag:
            self._shift(tag.end(), "\n" if (tag[1] or "").lower() in _BREAKS else "")
        elif not whole and _MAY_BE_TAG.fullmatch(self._held):
            return False
        else:
            self._shift(1, "<")
        return True

    def _link(self, whole: bool, last: bool) -> bool:
        image = self._held[0] == "!"
        if image and len(self._held) == 1 and not last:
            return False
        text = self._held[1:] if image else self._held
        if image and not text.startswith("["):
            self._shift(1, "!")
            return True
        link = _LINK.match(text)
        note = _SOURCE.match(text) or _FOOTNOTE.match(text)
        if link:
            self._held = link[1] + text[link.end() :]
        elif not whole and (_MAY_BE_LINK.fullmatch(text) or (text[0] == "【" and "】" not in text)):
            return False
        elif note:
            self._shift(note.end())
        else:
            self._held = text[1:]
        return True

    def _emphasis(self, mark: str, last: bool, whole: bool) -> bool:
        """``*`` and ``_``: gone where they come in pairs around words, kept where they stand for themselves."""
        run = len(self._held) - len(self._held.lstrip(mark))
        if run == len(self._held) and not last and run <= MAX_HELD:
            return False
        before, after = self._last, self._held[run : run + 1] or " "
        inside = before.isalnum() and after.isalnum()
        if run > 1:
            self._shift(run, mark * run if inside and mark == "*" else "")
        elif inside:
            self._shift(1, mark)
        elif mark in self._open and not before.isspace():
            self._open = self._open.replace(mark, "")
            self._shift(1)
        elif after.isspace() or before.isalnum():
            self._shift(1, mark)
        else:
            closes = re.search(rf"[^\s{re.escape(mark)}]{re.escape(mark)}(?![\w*])", self._held[1:].partition("\n")[0])
            if closes and (last or "\n" in self._held or closes.end() < len(self._held) - 1):
                self._open += mark
                self._shift(1)
            elif not whole:
                return False
            else:
                self._shift(1, mark)
        return True
