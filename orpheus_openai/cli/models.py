"""`orpheus-openai models`."""

import argparse

from orpheus_openai.cli.terminal import print_columns
from orpheus_openai.settings import load_settings

HELP = "list the models and what each needs"
EXAMPLES = ""


def add_arguments(_parser: argparse.ArgumentParser) -> None:
    """Describe its options: there are none."""


def run(_options: argparse.Namespace) -> int:
    """Print a table, and below it each reason once, with the models that it keeps away."""
    from orpheus_openai.speech.service import SpeechService  # noqa: PLC0415  a quarter of a second

    offer = SpeechService.create(load_settings()).offer
    rows = [("MODEL", "STATUS", "MEMORY", "LANGUAGES", "")]
    kept_away: dict[str, list[str]] = {}
    for model in offer.models().values():
        memory = f"{model.memory_gib:g} GiB" if model.memory_gib else ""
        title = f"{model.title} (default)" if model.id == offer.default else model.title
        rows.append((model.id, model.status.replace("_", " "), memory, " ".join(model.languages), title))
        if model.status_detail:
            kept_away.setdefault(model.status_detail, []).append(model.id)
    print_columns(rows)
    for reason, names in kept_away.items():
        print(f"\n{', '.join(names)}:\n  {reason}")
    return 0
