"""
From what people type to what the index is asked.

    volunteer oregon        both words
    "board of directors"    these words, in this order
    vegfest -raffle         the one without the other
    volunt*                 all words that begin so
    board OR committee      one of them, or both

Whatever else is typed is words: nobody gets at FTS5's own syntax, which has
errors, columns and operators of its own.
"""

from __future__ import annotations

import re
import unicodedata

from examples.narada.parsing import plain

LONGEST = 300
MOST_TERMS = 30

_TERM = re.compile(r'(-?)(?:"([^"]*)"?|([^\s"]+))(\*?)')


class BadQuery(ValueError):
    """
    A query finds nothing by what it is; the message says what to do, in a sentence.
    """


def _has_word(text: str) -> bool:
    """
    Whether FTS5's unicode61 finds a word in it: an empty phrase would match nothing, and all with it.
    """
    return any(unicodedata.category(character)[0] in "LN" or unicodedata.category(character) == "Co" for character in text)


def match_expression(query: str) -> str:
    """
    The expression for FTS5's MATCH.

    @raise BadQuery: if there is no word in it that a page could have.
    """
    if len(query) > LONGEST:
        raise BadQuery(f"That is {len(query)} characters long; {LONGEST} are allowed.")
    groups: list[tuple[list[str], list[str]]] = [([], [])]
    terms = 0
    for minus, phrase, word, star in _TERM.findall(plain(query)):
        if word == "OR" and not minus and not star:
            groups.append(([], []))
            continue
        text = phrase or word
        if word.endswith("*"):
            text, star = word.rstrip("*"), "*"
        if not _has_word(text):
            continue
        terms += 1
        if terms > MOST_TERMS:
            raise BadQuery(f"That is too much at once; {MOST_TERMS} words are allowed.")
        quoted = '"' + text.replace('"', '""') + '"' + ("*" if star else "")
        groups[-1][bool(minus)].append(quoted)
    if not terms:
        raise BadQuery("Type a word to search for.")
    expressions = []
    for wanted, unwanted in groups:
        if wanted:
            expressions.append(f"({' AND '.join(wanted)})" if not unwanted else f"(({' AND '.join(wanted)}) NOT ({' OR '.join(unwanted)}))")
        elif unwanted:
            raise BadQuery("Type a word that pages should have, too.")
    return " OR ".join(expressions)
