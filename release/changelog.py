"""CHANGELOG.md: what is unreleased becomes a version with a date."""

import re

UNRELEASED = "## Unreleased"
COMING = " (coming)"
"""What stands behind a version that has a section and no date yet."""


class ChangelogError(Exception):
    """The change log does not say what a release would hold."""


def cut(text: str, version: str, date: str) -> str:
    """`text` with its unreleased lines under `version` and `date` (ISO 8601), and an empty section on top.

    A section of the version that is still to come takes them in. Raises ChangelogError where there is nothing to
    release, or the version has a date already.
    """
    found = re.search(rf"^{UNRELEASED}\n(.*?)(?=^## |\Z)", text, flags=re.MULTILINE | re.DOTALL)
    if found is None:
        raise ChangelogError(f"there is no section '{UNRELEASED}'")
    if re.search(rf"^## {re.escape(version)} (?!\(coming\))", text, flags=re.MULTILINE):
        raise ChangelogError(f"{version} has been released already")
    new, rest = found[1].strip(), text[found.end() :]
    heading = f"## {version}{COMING}\n"
    if rest.startswith(heading):
        section, mark, older = rest.removeprefix(heading).partition("\n## ")
        new, rest = "\n".join(part for part in (section.strip(), new) if part), mark.lstrip("\n") + older
    if not new:
        raise ChangelogError("nothing is unreleased")
    dated = f"## {version} – {date}\n\n{new}\n"
    return f"{text[: found.start()]}{UNRELEASED}\n\n{dated}" + (f"\n{rest}" if rest else "")
