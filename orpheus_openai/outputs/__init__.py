"""Speech that is kept in a folder: under names that tell what it is, for whoever it is, as long as was allowed."""

from orpheus_openai.outputs.folder import OutputError, OutputFolder, SavedFile

__all__ = ["OutputError", "OutputFolder", "SavedFile"]
