"""What a rule is: a pattern, and what is said where it is found."""

import re
from collections.abc import Callable

Rule = tuple[re.Pattern[str], Callable[[re.Match[str]], str]]

LATIN = "A-Za-z\u00c0-\u024f_"
"""Letters of words that are parted by spaces: in a script without spaces a figure may follow a letter at once."""

START = rf"(?<![{LATIN}\d])(?<!\d[.,:/])"
"""A figure begins here: not inside a word or a longer number."""

END = rf"(?![{LATIN}\d])"


def rule(pattern: str, say: Callable[[re.Match[str]], str]) -> Rule:
    """What is said for each place at which `pattern` matches."""
    return re.compile(pattern), say


def always(words: str) -> Callable[[re.Match[str]], str]:
    """Whatever was found, these words."""
    return lambda _: words
