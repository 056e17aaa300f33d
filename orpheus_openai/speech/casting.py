"""Who speaks the parts of one request: its own voice, and those that its text names. All are one model's."""

from collections.abc import Callable, Mapping

from orpheus_openai.catalog import Catalog, Model, Voice
from orpheus_openai.errors import InvalidRequestError
from orpheus_openai.text.reading import ReadingRules
from orpheus_openai.text.turns import Manner


class Casting:
    """Finds the voice, and how it reads, for each manner of a text."""

    def __init__(
        self,
        catalog: Catalog,
        model: Model,
        voice: Voice,
        cast: Mapping[str, str],
        reading_in: Callable[[str], ReadingRules],
    ) -> None:
        """`cast` has voices by the names that the text has for them; `reading_in` the reading in a language.

        Raises InvalidRequestError for a voice that there is not, or that is another model's.
        """
        self._catalog = catalog
        self._model = model
        self._voice = voice
        self._reading_in = reading_in
        self._cast: dict[str, Voice] = {}
        for name, wanted in cast.items():
            try:
                self._cast[name] = self._found(wanted)
            except InvalidRequestError as error:
                raise InvalidRequestError(
                    f"{name}: {error.message}", param="cast", code=error.code
                ) from error

    def voice(self, manner: Manner) -> Voice:
        """Who says it; raises InvalidRequestError for a name that is neither of the cast nor a voice of the model's."""
        if not manner.voice:
            return self._voice
        if manner.voice not in self._cast:
            self._cast[manner.voice] = self._found(manner.voice)
        return self._cast[manner.voice]

    def reading(self, manner: Manner) -> ReadingRules:
        """How it is read; raises as `voice` does."""
        voice = self.voice(manner)
        return self._reading_in(manner.language or voice.language)

    def _found(self, name: str) -> Voice:
        voice = self._catalog.voice(name)
        speaking = self._catalog.speaking(self._model, voice)
        if speaking.id != self._model.id:
            raise InvalidRequestError(
                f"All voices of one request are one model's: '{self._voice.id}' is spoken by {self._model.id}, "
                f"'{voice.id}' by {speaking.id}. Send two requests.",
                param="voice",
                code="voices_of_several_models",
            )
        return voice
