"""A GGUF file with all that llama.cpp asks of Orpheus', tiny, whose logits lead from one slot of a frame to the next.

python -m tests.support.tiny_gguf FILE
"""

import sys
from pathlib import Path
from typing import Any, Literal

import gguf
import numpy as np
from tokenizers import pre_tokenizers

from tests.support.tiny_tokenizer import SPECIAL_TOKENS

VOCABULARY = 156_940
HIDDEN = 32
START_OF_SPEECH, END_OF_SPEECH = 128_257, 128_258
FIRST_AUDIO, CODES, SLOTS = 128_266, 4_096, 7
LIKELY = 64
"""Codes of each slot that are drawn now and then; the others never are."""
BACKGROUND = -8.0
"""The logit of all other tokens."""
SEED = 7

Kind = Literal["CONTROL", "USER_DEFINED", "NORMAL"]


def write_gguf(
    path: Path,
    *,
    frames: float = 30.0,
    vocabulary: int = VOCABULARY,
    architecture: str = "llama",
    context: int = 8_192,
    fields: dict[str, Any] | None = None,
    layers: int = 1,
    heads: tuple[int, int] = (1, 1),
    inner: int = HIDDEN,
    weights: dict[str, np.ndarray[Any, Any]] | None = None,
) -> Path:
    """Write the file, and return it.

    `weights` take the place of those that speak, with as many layers, heads and heads for keys.

    The next token depends on nothing but the last one's slot: a frame's seven slots follow one another, and a frame is
    followed by the end of speech with a chance of about one in `frames` at temperature 1 (0: never). Special tokens are
    marked as CONTROL.
    """
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_name("tiny Orpheus")
    writer.add_context_length(context)
    writer.add_embedding_length(HIDDEN)
    writer.add_block_count(layers)
    writer.add_feed_forward_length(inner)
    writer.add_head_count(heads[0])
    writer.add_head_count_kv(heads[1])
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(HIDDEN // heads[0])
    writer.add_rope_freq_base(500_000.0)
    writer.add_vocab_size(vocabulary)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16)
    _add_tokenizer(writer, vocabulary)
    for name, value in (fields or {}).items():
        writer.add_string(name, value)
    for name, tensor in (weights or tensors(vocabulary, frames)).items():
        writer.add_tensor(name, tensor)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def mark_special(source: Path, path: Path, special: Kind) -> Path:
    """Copy a file that `write_gguf` has made, with its special tokens marked otherwise."""
    content = bytearray(source.read_bytes())
    key = b"tokenizer.ggml.token_type"
    start = content.index(key) + len(key) + 16  # after the types of array and item, and the length
    kinds = np.frombuffer(content, np.int32, VOCABULARY, start)
    kinds[kinds == gguf.TokenType.CONTROL] = gguf.TokenType[special]
    path.write_bytes(content)
    return path


def _add_tokenizer(writer: gguf.GGUFWriter, vocabulary: int) -> None:
    """Llama 3's kind of vocabulary: bytes and a few merges, the special tokens at their true ids."""
    # A token with a space in it can never be read from text, whose spaces are spelt otherwise.
    tokens = [f"unused {number}" for number in range(vocabulary)]
    kinds = [gguf.TokenType.NORMAL] * vocabulary
    for number, symbol in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet())):
        tokens[number] = symbol
    merges = ["h e", "l l", "Ġ t"]
    for number, merge in enumerate(merges, start=256):
        tokens[number] = merge.replace(" ", "")
    for token, number in SPECIAL_TOKENS.items():
        if number < vocabulary:
            tokens[number] = token
            kinds[number] = gguf.TokenType.CONTROL
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("llama-bpe")
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    writer.add_token_merges(merges)
    writer.add_bos_token_id(SPECIAL_TOKENS["<|begin_of_text|>"])
    writer.add_eos_token_id(SPECIAL_TOKENS["<|eot_id|>"])
    writer.add_add_bos_token(True)


def tensors(vocabulary: int = VOCABULARY, frames: float = 30.0) -> dict[str, np.ndarray[Any, Any]]:
    """What the file holds.

    Attention and feed-forward add nothing, so that the last token's own embedding is what the head sees.
    """
    embedding = np.zeros((vocabulary, HIDDEN), np.float16)
    head = np.zeros((vocabulary, HIDDEN), np.float16)
    if vocabulary == VOCABULARY:
        # The norm makes the one number of an embedding √HIDDEN.
        head[:, : SLOTS + 1] = BACKGROUND / np.sqrt(HIDDEN)
        embedding[START_OF_SPEECH, SLOTS] = 1.0
        random = np.random.default_rng(SEED)
        for slot in range(SLOTS):
            codes = slice(FIRST_AUDIO + CODES * slot, FIRST_AUDIO + CODES * (slot + 1))
            embedding[codes] = 0
            embedding[codes, (slot + 1) % SLOTS] = 1.0
            logits = np.full(CODES, BACKGROUND)
            logits[random.choice(CODES, LIKELY, replace=False)] = 12.0 + random.normal(0.0, 1.5, LIKELY)
            head[codes, slot] = logits / np.sqrt(HIDDEN)
            if slot == 0:
                head[codes, SLOTS] = head[codes, 0]  # and no end of speech before the first frame
                end = np.log(np.exp(logits).sum() / frames) if frames else BACKGROUND
                head[END_OF_SPEECH, 0] = end / np.sqrt(HIDDEN)
    layer = {f"attn_{name}": (HIDDEN, HIDDEN) for name in ("q", "k", "v", "output")}
    layer |= {f"ffn_{name}": (HIDDEN, HIDDEN) for name in ("gate", "up", "down")}
    return {
        "token_embd.weight": embedding,
        "output_norm.weight": np.ones(HIDDEN, np.float32),
        "output.weight": head,
        **{f"blk.0.{name}.weight": np.zeros(shape, np.float16) for name, shape in layer.items()},
        **{f"blk.0.{name}_norm.weight": np.ones(HIDDEN, np.float32) for name in ("attn", "ffn")},
    }


if __name__ == "__main__":
    write_gguf(Path(sys.argv[1]))
