"""OpenAI's speech API from your own GPU, in the expressive voices of Orpheus."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from orpheus_openai.api import OrpheusModel

__version__ = "0.2.0.dev0"
__all__ = ["NAME", "OrpheusModel", "__version__"]

NAME = "orpheus-openai"
"""How a server of ours names itself at `/health`, where many other programs answer, too."""


def __getattr__(name: str) -> Any:
    """Import the Python API when it is asked for: the server starts without it."""
    if name == "OrpheusModel":
        from orpheus_openai.api import OrpheusModel  # noqa: PLC0415

        return OrpheusModel
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
