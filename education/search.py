"""Search in the pages: what people type, the pages found, and the words around the find."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from wagtail.search.query import Or, PlainText

from education.models import InfoPage, LearnIndexPage

MAX_QUERY = 100
MAX_WORDS = 8
SNIPPET_LENGTH = 220
# What people type, and what the pages have, which are in British English: American spellings, and
# everyday words.
OUR_WORDS = tuple(
    (re.compile(typed), ours)
    for typed, ours in (
        (r"^tumor(?!i)", "tumour"),
        (r"^edema", "oedema"),
        (r"^hem(?=a[nrt]|o)", "haem"),
        (r"^((?:an|leuk|isch|ur|septic|hypox|glyc)?)emi(?=a$|c$)", r"\1aemi"),
        (r"^anesth", "anaesth"),
        (r"^pediatr", "paediatr"),
        (r"^(esophag|estrogen)", r"o\1"),
        (r"^color(?!e)", "colour"),
        (r"^center$", "centre"),
        (r"^fiber", "fibre"),
        (r"^behavior", "behaviour"),
        (r"^gray$", "grey"),
        (r"^(ir)?radiation$", "radiotherapy"),
        (r"^chemo$", "chemotherapy"),
    )
)


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


def in_our_words(words: list[str]) -> list[str]:
    """The same words as the pages have them."""
    found = []
    for word in words:
        for typed, ours in OUR_WORDS:
            word = typed.sub(ours, word)  # noqa: PLW2901  # one after another
        found.append(word)
    return found


def search(words: list[str]) -> Sequence[InfoPage]:
    """Published pages that have every word in their title, summary or text, best first.

    As typed or in our words: an editor may have quoted an American name.
    """
    index = LearnIndexPage.objects.live().first()
    if index is None or not words:
        return []
    pages = index.get_children().live().public().specific()
    queries = dict.fromkeys(" ".join(way) for way in (words, in_our_words(words)))
    found: Sequence[InfoPage] = pages.autocomplete(Or([PlainText(query) for query in queries]))
    return found


def snippet(page: InfoPage, words: list[str]) -> list[Piece]:
    """The part of the text where a word is first found; else the start of the summary."""
    either = "|".join(map(re.escape, words + in_our_words(words)))
    pattern = re.compile(rf"(?<!\w)(?:{either})\w*", re.IGNORECASE)
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
