"""Text and voice to the token ids that Orpheus was trained to continue with speech."""

from collections.abc import Callable
from typing import Literal, TypeAlias

from orpheus_openai.catalog import Voice
from orpheus_openai.errors import InvalidRequestError

Encode: TypeAlias = Callable[[str], list[int]]
"""Text to ids below `FIRST_SPECIAL_TOKEN`; never a special token, whatever the text spells."""

FIRST_SPECIAL_TOKEN = 128_000
"""Llama 3's ids for text end below this one; above stand its special tokens and Orpheus' own."""
BEGIN_OF_TEXT = 128_000
END_OF_TURN = 128_009

_FIRST_CUSTOM_TOKEN = 128_256
START_OF_HUMAN = _FIRST_CUSTOM_TOKEN + 3
END_OF_HUMAN = _FIRST_CUSTOM_TOKEN + 4
START_OF_AI = _FIRST_CUSTOM_TOKEN + 5
START_OF_SPEECH = _FIRST_CUSTOM_TOKEN + 1


def build_prompt(
    encode: Encode, text: str, voice: Voice, form: Literal["standard", "smaller"] = "standard"
) -> list[int]:
    """Return the ids of the whole prompt, in one of the two forms that Orpheus' authors publish.

    `standard` is `<start of human> <begin of text> name: text <end of turn> <end of human> <start of AI>
    <start of speech>`; `smaller` is `<begin of text> <start of human> text[name] <end of human> <start of
    AI>` (Orpheus-TTS, engine). A voice whose prefix is empty puts no name there. Raises InvalidRequestError
    if `encode` lets a special token through.
    """
    name = voice.id if voice.prefix is None else voice.prefix
    if form == "standard":
        spoken = _text_ids(encode, f"{name}: {text}" if name else text)
        return [
            START_OF_HUMAN,
            BEGIN_OF_TEXT,
            *spoken,
            END_OF_TURN,
            END_OF_HUMAN,
            START_OF_AI,
            START_OF_SPEECH,
        ]
    spoken = _text_ids(encode, f"{text}[{name}]" if name else text)
    return [BEGIN_OF_TEXT, START_OF_HUMAN, *spoken, END_OF_HUMAN, START_OF_AI]


def _text_ids(encode: Encode, text: str) -> list[int]:
    ids = encode(text)
    if any(number >= FIRST_SPECIAL_TOKEN for number in ids):
        raise InvalidRequestError(
            "The text spells a special token of the model, and this checkpoint's tokenizer would obey it "
            "instead of reading it out. Take what looks like <custom_token_5> or <|eot_id|> out of the text.",
            param="input",
            code="special_token_in_text",
        )
    return ids
