"""Orpheus' tokens spelt as text, for engines that know text only: `<custom_token_N>` is 128 256 + N."""

import re
from collections.abc import Callable, Sequence
from itertools import groupby
from typing import TypeAlias

from orpheus_openai.models.orpheus.frames import FIRST_CUSTOM_TOKEN, LAST_AUDIO_TOKEN
from orpheus_openai.models.orpheus.prompt import BEGIN_OF_TEXT, END_OF_TURN, FIRST_SPECIAL_TOKEN

Decode: TypeAlias = Callable[[Sequence[int]], str]
"""Ids of text, none of them special, to the text."""

_LAST_NUMBER = LAST_AUDIO_TOKEN - FIRST_CUSTOM_TOKEN
_LONGEST = len(f"<custom_token_{_LAST_NUMBER}>")
_TOKEN = re.compile(r"<custom_token_([0-9]{1,5})>")
_SPELT_IN_TEXT = re.compile(r"<(?=\||custom_token_)")


class TokenReader:
    """Reads ids from text that comes in pieces, cut anywhere; everything but custom tokens is passed over."""

    def __init__(self) -> None:
        self._rest = ""

    def read(self, text: str) -> list[int]:
        """Return the ids that are complete with this piece, in order."""
        text = self._rest + text
        ids: list[int] = []
        end = 0
        for match in _TOKEN.finditer(text):
            end = match.end()
            if (number := int(match[1])) <= _LAST_NUMBER:
                ids.append(FIRST_CUSTOM_TOKEN + number)
        # What may be the beginning of a token starts with the last "<" and is shorter than the longest.
        start = text.rfind("<", end)
        self._rest = text[start:] if start >= 0 and len(text) - start < _LONGEST else ""
        return ids


def spell_token(token: int) -> str:
    """Spell a special token as the checkpoint's tokenizer does; raises ValueError for one no prompt needs."""
    if FIRST_CUSTOM_TOKEN <= token <= LAST_AUDIO_TOKEN:
        return f"<custom_token_{token - FIRST_CUSTOM_TOKEN}>"
    if token == END_OF_TURN:
        return "<|eot_id|>"
    if token == BEGIN_OF_TEXT:
        return "<|begin_of_text|>"
    raise ValueError(f"The token {token} has no place in a prompt.")


def broken_up(text: str) -> str:
    """Put a space into all that a tokenizer might take for a special token, so that none is left."""
    return _SPELT_IN_TEXT.sub("< ", text)


def spell_prompt(prompt_ids: Sequence[int], decode: Decode) -> str:
    """Spell a prompt, less a begin-of-text token at its start, which engines add to text by themselves.

    What looks like a special token in the user's text is broken up, so that the engine does not obey it.
    """
    spelt: list[str] = []
    for special, ids in groupby(prompt_ids, key=lambda token: token >= FIRST_SPECIAL_TOKEN):
        if special:
            spelt += map(spell_token, ids)
        else:
            spelt.append(broken_up(decode(list(ids))))
    return "".join(spelt).removeprefix(spell_token(BEGIN_OF_TEXT))
