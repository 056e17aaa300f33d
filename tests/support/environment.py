"""The environment that servers and commands under test are started in."""

import os

from orpheus_openai.settings import Settings, variable_name

OURS = frozenset(map(variable_name, Settings.__struct_fields__))


def environ(**settings: str) -> dict[str, str]:
    """This process' own without any setting of ours, then the preview as model, then `settings`."""
    inherited = {
        name: value
        for name, value in os.environ.items()
        if name not in OURS and not name.startswith("ORPHEUS_")
    }
    return {**inherited, "ORPHEUS_MODEL": "preview", **settings}
