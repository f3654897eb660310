"""Search in the pages: what people type, the pages found, and the words around the find."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from education.models import InfoPage, LearnIndexPage

MAX_QUERY = 100
MAX_WORDS = 8
SNIPPET_LENGTH = 220


@dataclass(frozen=True, slots=True)
class Piece:
    """A stretch of a snippet, and whether it is what was searched for."""

    text: str
    found: bool


def words_of(query: str) -> list[str]:
    """The words to look for, in their shortest form: beginnings of words are matched.

    Everything but letters and digits separates words, so no character means anything to the
    database's query language.
    """
    found = re.findall(r"[^\W_]+", query[:MAX_QUERY].lower())[:MAX_WORDS]
    return [re.sub(r"(?<=\w{4})s$", "", word) for word in found]


def search(words: list[str]) -> Sequence[InfoPage]:
    """Published pages that have every word in their title, summary or text, best first."""
    index = LearnIndexPage.objects.live().first()
    if index is None or not words:
        return []
    pages = index.get_children().live().public().specific()
    found: Sequence[InfoPage] = pages.autocomplete(" ".join(words))
    return found


def snippet(page: InfoPage, words: list[str]) -> list[Piece]:
    """The part of the text where a word is first found; else the start of the summary."""
    pattern = re.compile(rf"(?<!\w)(?:{'|'.join(map(re.escape, words))})\w*", re.IGNORECASE)
    text = " ".join(page.text.split())
    match = pattern.search(text)
    if match is None:
        text, start = page.summary, 0
    else:
        start = max(0, match.start() - SNIPPET_LENGTH // 3)
        start = text.rfind(" ", 0, start) + 1
    end = start + SNIPPET_LENGTH
    if end < len(text):
        end = text.rfind(" ", start, end)
    shown = f"{'… ' if start else ''}{text[start:end]}{' …' if end < len(text) else ''}"
    return _pieces(shown, pattern)


def _pieces(text: str, pattern: re.Pattern[str]) -> list[Piece]:
    found = [False] * len(text)
    for match in pattern.finditer(text):
        found[match.start() : match.end()] = [True] * len(match[0])
    parts = groupby(zip(text, found, strict=True), key=lambda pair: pair[1])
    return [Piece("".join(letter for letter, _ in part), is_found) for is_found, part in parts]
