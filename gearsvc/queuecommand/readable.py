"""
Names, which are bytes, for people.
"""

from __future__ import annotations


def readable(data: bytes) -> str:
    """
    Bytes as a person can read them: what can't be seen, or told apart, as in
    a Python string.
    """
    text = data.decode("utf-8", "surrogateescape")
    if text.isprintable() and "\\" not in text and text.strip(" ") == text:
        return text
    inner = text.strip(" ")
    before = len(text) - len(text.lstrip(" "))
    after = len(text) - len(inner) - before
    return "\\x20" * before + "".join(map(_readable, inner)) + "\\x20" * after


def _readable(character: str) -> str:
    if character == "\\":
        return "\\\\"
    if character.isprintable():
        return character
    if "\udc80" <= character <= "\udcff":
        return f"\\x{ord(character) - 0xDC00:02x}"
    return repr(character)[1:-1]
