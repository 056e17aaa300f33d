"""`orpheus-openai doctor`."""

import argparse

HELP = "look at what is here and say what is missing"
EXAMPLES = ""


def add_arguments(_parser: argparse.ArgumentParser) -> None:
    """Describe its options: there are none."""


def run(_options: argparse.Namespace) -> int:
    """Print what was found; 1 where something is missing that the settings need."""
    from orpheus_openai.doctor import examine  # noqa: PLC0415  it looks at everything, and imports it

    findings = examine()
    for finding in findings:
        state = "ok" if finding.ok else "MISSING" if finding.needed else "note"
        print(f"{state:<9}{finding.what}")
        if finding.advice:
            print(f"{'':<9}→ {finding.advice}")
    return 1 if any(finding.needed and not finding.ok for finding in findings) else 0
