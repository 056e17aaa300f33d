"""The checkpoint's tokenizer, for text alone: special tokens are taken out of it before it sees any."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from orpheus_openai.errors import ModelUnavailableError
from orpheus_openai.models.orpheus.prompt import Encode

TOKENIZER_FILE = "tokenizer.json"


@dataclass(frozen=True)
class TextTokenizer:
    """Text to ids and back, for text alone."""

    encode: Encode
    decode: Callable[[Sequence[int]], str]


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


def _tokenizer_file(source: str) -> Path:
    directory = Path(source).expanduser()
    if directory.is_dir():
        return directory / TOKENIZER_FILE
    from huggingface_hub import hf_hub_download  # noqa: PLC0415

    return Path(hf_hub_download(source, TOKENIZER_FILE))
