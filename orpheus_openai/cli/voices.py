"""`orpheus-openai voices`."""

import argparse

from orpheus_openai.catalog import load_catalog
from orpheus_openai.cli.terminal import print_columns
from orpheus_openai.settings import load_settings

HELP = "list the voices"
EXAMPLES = ""


def add_arguments(_parser: argparse.ArgumentParser) -> None:
    """Describe its options: there are none."""


def run(_options: argparse.Namespace) -> int:
    """Print a table."""
    catalog = load_catalog(load_settings().catalog)
    rows = [("VOICE", "LANGUAGE", "GENDER", "OPENAI'S NAMES")]
    for voice in catalog.voices.values():
        names = ", ".join(catalog.other_names(voice))
        rows.append((voice.id, catalog.languages[voice.language].english, voice.gender, names))
    print_columns(rows)
    return 0
