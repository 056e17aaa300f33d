"""Text and voice to the token ids that Orpheus was trained to continue with speech."""

from collections.abc import Sequence
from typing import Literal, TypeAlias

from orpheus_openai.catalog import Voice
from orpheus_openai.errors import InvalidRequestError
from orpheus_openai.models.orpheus.frames import END_OF_SPEECH, FIRST_CUSTOM_TOKEN

PromptForm: TypeAlias = Literal["standard", "smaller"]
"""Which of the two forms that Orpheus' authors publish (Orpheus-TTS, engine)."""

FIRST_SPECIAL_TOKEN = 128_000
"""Llama 3's ids for text end below this one; above stand its special tokens and Orpheus' own."""
BEGIN_OF_TEXT = 128_000
END_OF_TURN = 128_009

START_OF_HUMAN = FIRST_CUSTOM_TOKEN + 3
END_OF_HUMAN = FIRST_CUSTOM_TOKEN + 4
START_OF_AI = FIRST_CUSTOM_TOKEN + 5
START_OF_SPEECH = FIRST_CUSTOM_TOKEN + 1
END_OF_AI = FIRST_CUSTOM_TOKEN + 6


def prompt_text(text: str, voice: Voice, form: PromptForm = "standard") -> str:
    """Return the text with its voice's name: `name: text`, or `text[name]` in the smaller form.

    A voice whose prefix is empty puts no name there.
    """
    name = voice.id if voice.prefix is None else voice.prefix
    if not name:
        return text
    return f"{name}: {text}" if form == "standard" else f"{text}[{name}]"


def build_prompt(text_ids: Sequence[int], form: PromptForm = "standard") -> list[int]:
    """Return the ids of the whole prompt around those of `prompt_text`.

    `standard` is `<start of human> <begin of text> … <end of turn> <end of human> <start of AI> <start of speech>`;
    `smaller` is `<begin of text> <start of human> … <end of human> <start of AI>`. Raises InvalidRequestError if there
    is a special token among `text_ids`.
    """
    if any(number >= FIRST_SPECIAL_TOKEN for number in text_ids):
        raise InvalidRequestError(
            "The text spells a special token of the model, and this checkpoint's tokenizer would obey it "
            "instead of reading it out. Remove what looks like <custom_token_5> or <|eot_id|> from the text.",
            param="input",
            code="special_token_in_text",
        )
    if form == "standard":
        return [
            START_OF_HUMAN,
            BEGIN_OF_TEXT,
            *text_ids,
            END_OF_TURN,
            END_OF_HUMAN,
            START_OF_AI,
            START_OF_SPEECH,
        ]
    return [BEGIN_OF_TEXT, START_OF_HUMAN, *text_ids, END_OF_HUMAN, START_OF_AI]


def recorded_prompt(text_ids: Sequence[int], said_ids: Sequence[int], recording: Sequence[int]) -> list[int]:
    """Return the ids of the whole prompt that has a recording's voice go on.

    First a turn in which the recording's audio tokens, `recording`, answer what is said in it, `said_ids`; then the one
    that is to be answered (Orpheus-TTS, its notebook for the pretrained model). Raises as `build_prompt` does.
    """
    return [*build_prompt(said_ids), *recording, END_OF_SPEECH, END_OF_AI, *build_prompt(text_ids)]
