"""The checkpoint's tokenizer, for text alone: special tokens are taken out of it before it sees any."""

import asyncio
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from orpheus_openai.errors import ModelUnavailableError
from orpheus_openai.models.hub import first_that_gives, folder_at_hand, folder_of

TOKENIZER_FILE = "tokenizer.json"


@dataclass(frozen=True)
class TextTokenizer:
    """Text to ids and back, for text alone."""

    encode: Callable[[str], list[int]]
    """Never gives a special token, whatever the text spells."""
    decode: Callable[[Sequence[int]], str]


class CheckpointTokenizer:
    """A checkpoint's tokenizer, read when it is first needed: a remote engine may have one of its own."""

    def __init__(self, *sources: str) -> None:
        """`sources` are names of the same checkpoint, directories or repo ids, in the order they are tried."""
        self._sources = sources
        self._loaded: TextTokenizer | None = None
        self._at_hand: bool | None = None

    async def at_hand(self) -> TextTokenizer | None:
        """Return the tokenizer if it is on this machine's disk."""
        if self._at_hand is None:
            self._at_hand = await asyncio.to_thread(lambda: any(map(_is_here, self._sources)))
        return await self.load() if self._at_hand else None

    async def load(self) -> TextTokenizer:
        """Return the tokenizer, downloaded if need be; raises ModelUnavailableError when there is none."""
        if self._loaded is None:
            if not self._sources:
                raise ModelUnavailableError(
                    "The engine does not tokenize text, and no checkpoint is named whose tokenizer could do it here: "
                    "set ORPHEUS_MODEL_MEDIUM_3B, or the variable of the model in use, to a folder or a repo id."
                )
            self._loaded = await asyncio.to_thread(load_tokenizer, *self._sources)
        return self._loaded


def load_tokenizer(*sources: str) -> TextTokenizer:
    """Return the tokenizer of a checkpoint, by the first of its names that there is. Blocking, may download.

    `tokenizers` has a switch that leaves special tokens alone, but Orpheus' `<custom_token_N>` are ordinary
    added tokens, which that switch does not cover: so all added tokens are removed, and what spells one is
    read as the characters it consists of. Raises ModelUnavailableError when there is no usable tokenizer, and
    NotReadyError when the hub cannot be reached.
    """
    here = [source for source in sources if _is_here(source)]
    return first_that_gives(
        [*here, *(source for source in sources if source not in here)],
        _read,
        f"Name the directory or the repository of an Orpheus checkpoint with its {TOKENIZER_FILE}.",
    )


def _read(source: str) -> TextTokenizer:
    from tokenizers import Tokenizer  # noqa: PLC0415  (an extra: only a server that speaks Orpheus has it)

    directory = folder_of(source, [TOKENIZER_FILE], _has_tokenizer)
    try:
        definition = json.loads((directory / TOKENIZER_FILE).read_text(encoding="utf-8"))
        definition.update(added_tokens=[], post_processor=None, truncation=None, padding=None)
        tokenizer = Tokenizer.from_str(json.dumps(definition))
    except Exception as error:  # tokenizers raises bare Exception
        raise ModelUnavailableError(f"The {TOKENIZER_FILE} of {source} cannot be read ({error}).") from error

    def encode(text: str) -> list[int]:
        ids: list[int] = tokenizer.encode(text, add_special_tokens=False).ids
        return ids

    def decode(ids: Sequence[int]) -> str:
        text: str = tokenizer.decode(list(ids), skip_special_tokens=False)
        return text

    return TextTokenizer(encode, decode)


def _is_here(source: str) -> bool:
    found = folder_at_hand(source, _has_tokenizer)
    return found is not None and _has_tokenizer(found)


def _has_tokenizer(directory: Path) -> bool:
    return (directory / TOKENIZER_FILE).is_file()
