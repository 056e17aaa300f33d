"""How many streams of medium-3b fit on a card, by the budget that the server itself goes by: arithmetic, no card.

python -m benchmarks.cards --write brings docs/scaling.md up to date; without it the table is printed.
"""

import argparse
import re
from pathlib import Path
from typing import Any

from orpheus_openai.gpu.policy import GIB, Card
from orpheus_openai.models.orpheus.budget import MOST_STREAMS
from orpheus_openai.models.orpheus.checkpoint import Checkpoint, Shape, Weights
from orpheus_openai.models.orpheus.memory import margin
from orpheus_openai.models.orpheus.vllm_options import EngineOptions

PAGE = Path(__file__).parents[1] / "docs" / "scaling.md"
MARKS = ("<!-- cards: python -m benchmarks.cards --write -->\n", "<!-- end of cards -->\n")

SIZES = (8, 12, 16, 24, 48, 80)
"""Memory of a card, in GiB."""

DRIVER = 0.5
"""GiB that are never free: the driver's own, and a screen's."""

HIDDEN, LAYERS, INNER, VALUES = 3_072, 28, 8_192, 1_024
ORPHEUS_3B = Checkpoint(
    directory=Path("orpheus-3b"),
    shape=Shape(
        layers=LAYERS,
        vocab_size=156_940,
        hidden_size=HIDDEN,
        num_attention_heads=24,
        num_key_value_heads=8,
        head_dim=128,
        intermediate_size=INNER,
        max_position_embeddings=131_072,
        tie_word_embeddings=True,
        architectures=("LlamaForCausalLM",),
    ),
    weights=Weights(
        linear=LAYERS * (2 * HIDDEN**2 + 2 * HIDDEN * VALUES + 3 * HIDDEN * INNER),
        other=156_940 * HIDDEN + (2 * LAYERS + 1) * HIDDEN,
        stored=0,
    ),
)
PLAIN = EngineOptions(max_streams=MOST_STREAMS, max_model_len=4_096)
COLUMNS: dict[str, dict[str, Any]] = {
    "16 bits": {},
    "`ORPHEUS_QUANTIZATION=fp8`": {"quantization": "fp8"},
    "and `ORPHEUS_SNAC_DEVICE=cpu`": {"quantization": "fp8", "codec_on_card": False},
    "and `ORPHEUS_KV_CACHE_DTYPE=fp8`": {
        "quantization": "fp8",
        "codec_on_card": False,
        "kv_cache_dtype": "fp8",
    },
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--write", action="store_true", help="write the table into docs/scaling.md")
    if parser.parse_args().write:
        PAGE.write_text(written(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    else:
        print(table(), end="")


def written(page: str) -> str:
    """The page with the table as it is now."""
    first, last = MARKS
    return re.sub(f"{first}.*{last}", f"{first}\n{table()}\n{last}", page, flags=re.DOTALL)


def table() -> str:
    """What fits on each card, as Markdown."""
    lines = [f"| card | {' | '.join(COLUMNS)} |", "| --- |" + " --- |" * len(COLUMNS)]
    lines += [
        f"| {size} GB | {' | '.join(_cell(size, changes) for changes in COLUMNS.values())} |"
        for size in SIZES
    ]
    return "\n".join(lines) + "\n"


def streams(card: Card, **changes: Any) -> tuple[int, float]:
    """How many fit on a card that has at most the codec on it yet, and GiB of all together; 0 where none does."""
    wished = options(**changes)
    codec = wished.footprint(ORPHEUS_3B).codec
    fitted = wished.fitted(ORPHEUS_3B, card.free - codec - margin(card.total))
    return (fitted.max_streams, fitted.footprint(ORPHEUS_3B).total / GIB) if fitted else (0, 0.0)


def options(**changes: Any) -> EngineOptions:
    """As the server starts vLLM, with changes."""
    fields = {name: getattr(PLAIN, name) for name in PLAIN.__struct_fields__}
    return EngineOptions(**{**fields, **changes})


def _cell(size: int, changes: dict[str, str]) -> str:
    count, held = streams(Card(0, round((size - DRIVER) * GIB), size * GIB), **changes)
    return f"{count} ({held:.1f} GiB)" if count else "–"


if __name__ == "__main__":
    main()
