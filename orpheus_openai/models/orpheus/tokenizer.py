"""The checkpoint's tokenizer, for text alone: special tokens are taken out of it before it sees any."""

import asyncio
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from orpheus_openai.errors import ModelUnavailableError

TOKENIZER_FILE = "tokenizer.json"


@dataclass(frozen=True)
class TextTokenizer:
    """Text to ids and back, for text alone."""

    encode: Callable[[str], list[int]]
    """Never gives a special token, whatever the text spells."""
    decode: Callable[[Sequence[int]], str]


class CheckpointTokenizer:
    """A checkpoint's tokenizer, read when it is first needed: a remote engine may have one of its own."""

    def __init__(self, source: str | None) -> None:
        self._source = source
        self._loaded: TextTokenizer | None = None
        self._at_hand: bool | None = None

    async def at_hand(self) -> TextTokenizer | None:
        """Return the tokenizer if it is on this machine's disk."""
        if self._at_hand is None:
            self._at_hand = self._source is not None and await asyncio.to_thread(_is_here, self._source)
        return await self.load() if self._at_hand else None

    async def load(self) -> TextTokenizer:
        """Return the tokenizer, downloaded if need be; raises ModelUnavailableError when there is none."""
        if self._loaded is None:
            if self._source is None:
                raise ModelUnavailableError(
                    "The engine does not tokenize text, and no checkpoint is named whose tokenizer could do it here: "
                    "set ORPHEUS_MODEL_MEDIUM_3B, or the variable of the model in use, to a folder or a repo id."
                )
            self._loaded = await asyncio.to_thread(load_tokenizer, self._source)
        return self._loaded


def load_tokenizer(source: str) -> TextTokenizer:
    """Return the tokenizer of a checkpoint directory or a Hugging Face repo id. Blocking, may download.

    `tokenizers` has a switch that leaves special tokens alone, but Orpheus' `<custom_token_N>` are ordinary
    added tokens, which that switch does not cover: so all added tokens are removed, and what spells one is
    read as the characters it consists of. Raises ModelUnavailableError when there is no usable tokenizer.
    """
    from tokenizers import Tokenizer  # noqa: PLC0415  (an extra: only a server that speaks Orpheus has it)

    try:
        definition = json.loads(_tokenizer_file(source).read_text(encoding="utf-8"))
        definition.update(added_tokens=[], post_processor=None, truncation=None, padding=None)
        tokenizer = Tokenizer.from_str(json.dumps(definition))
    except Exception as error:  # tokenizers raises bare Exception, huggingface_hub a dozen kinds
        raise ModelUnavailableError(
            f"The {TOKENIZER_FILE} of {source} cannot be read ({error}). Name the directory or the "
            "repository of an Orpheus checkpoint with its tokenizer."
        ) from error

    def encode(text: str) -> list[int]:
        ids: list[int] = tokenizer.encode(text, add_special_tokens=False).ids
        return ids

    def decode(ids: Sequence[int]) -> str:
        text: str = tokenizer.decode(list(ids), skip_special_tokens=False)
        return text

    return TextTokenizer(encode, decode)


def _is_here(source: str) -> bool:
    directory = Path(source).expanduser()
    if directory.is_dir():
        return (directory / TOKENIZER_FILE).is_file()
    from huggingface_hub import try_to_load_from_cache  # noqa: PLC0415
    from huggingface_hub.errors import HFValidationError  # noqa: PLC0415

    try:
        return isinstance(try_to_load_from_cache(source, TOKENIZER_FILE), str)
    except HFValidationError:  # a file's name, or one of another form
        return False


def _tokenizer_file(source: str) -> Path:
    directory = Path(source).expanduser()
    if directory.is_dir():
        return directory / TOKENIZER_FILE
    from huggingface_hub import hf_hub_download  # noqa: PLC0415

    return Path(hf_hub_download(source, TOKENIZER_FILE))
