"""What the user decides: read once from the environment and `.env`, checked, and never changed afterwards."""

from orpheus_openai.settings.definition import Settings
from orpheus_openai.settings.reading import checkpoint_variable, load_settings, variable_name

__all__ = ["Settings", "checkpoint_variable", "load_settings", "variable_name"]
