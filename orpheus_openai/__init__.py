"""OpenAI's speech API from your own GPU, in the expressive voices of Orpheus."""

__version__ = "0.1.0"
