"""From a request to what is spoken: by which rules and lexicons its text is read, by whom, and in which segments."""

from collections.abc import Iterator
from functools import partial

from orpheus_openai.catalog import Catalog, Model, Voice
from orpheus_openai.limits.keys import read_keys
from orpheus_openai.models.preview.letters import SOUNDLESS
from orpheus_openai.settings import Settings
from orpheus_openai.speech.casting import Casting
from orpheus_openai.speech.feed import TextFeed
from orpheus_openai.speech.lexicon import ServerLexicon
from orpheus_openai.speech.request import SpeechRequest
from orpheus_openai.speech.script import SHORT_TEXT, AnyScript, LiveScript, Script
from orpheus_openai.text.changes import Ledger
from orpheus_openai.text.desk import Desk
from orpheus_openai.text.lexicon import Lexicon
from orpheus_openai.text.pieces import Pieces
from orpheus_openai.text.reading import ReadingRules
from orpheus_openai.text.split import Segment
from orpheus_openai.text.turns import PLAIN, Cast
from orpheus_openai.text.warnings import Warned


class Scripts:
    """Makes them, by the settings of one server."""

    def __init__(self, catalog: Catalog, settings: Settings) -> None:
        self._settings = settings
        self._lexicon = ServerLexicon(settings.lexicon, [key.name for key in read_keys(settings.api_keys)])
        self._desk = Desk(catalog.emotion_tags, catalog.directions)

    def casting(
        self, request: SpeechRequest, catalog: Catalog, model: Model, voice: Voice, account: str
    ) -> Casting:
        """Who speaks its parts, and how each is read; raises InvalidRequestError for voices that cannot be had."""
        own = [Lexicon(request.pronunciations)] if request.pronunciations else []
        reading_in = partial(self._reading, request, own, account, by_espeak=model.is_preview)
        return Casting(catalog, model, voice, request.cast, reading_in)

    def script(
        self,
        request: SpeechRequest,
        model: Model,
        casting: Casting,
        warnings: list[Warned],
        feed: TextFeed | None,
    ) -> AnyScript:
        """Make its text a script, or with `feed` what is written to that; `warnings` get what is not done of it."""
        reading = casting.reading(PLAIN)
        lengthened = bool(request.pronunciations)  # a short text may become a long one by them
        if feed is None:
            slow = lengthened or len(request.text) > SHORT_TEXT or not self._desk.ready(reading)
            return Script(request.text, self.segments(request, model, casting, warnings), in_thread=slow)
        settings = self._settings
        feed.open(
            Pieces(
                reading.language,
                cleaning=reading.cleaning,
                read_code=reading.read_code,
                clauses=feed.clauses,
            ),
            most=settings.max_input_chars,
            pause=settings.text_pause,
            wait=settings.text_wait,
        )
        dictation = self._desk.dictated(
            reading,
            model.emotion_tags,
            cast=Cast(request.cast) if request.cast else None,
            reading_of=casting.reading,
            warnings=warnings,
        )
        return LiveScript(feed, dictation, lambda: not lengthened and self._desk.ready(reading))

    def segments(
        self,
        request: SpeechRequest,
        model: Model,
        casting: Casting,
        warnings: list[Warned],
        ledger: Ledger | None = None,
    ) -> Iterator[Segment]:
        """Yield what is spoken of its text; `ledger` notes what is changed of it."""
        return self._desk.read(
            request.text,
            casting.reading(PLAIN),
            model.emotion_tags,
            cast=Cast(request.cast) if request.cast else None,
            reading_of=casting.reading,
            ledger=ledger,
            warnings=warnings,
        )

    def _reading(
        self,
        request: SpeechRequest,
        own: list[Lexicon],
        account: str,
        language: str,
        *,
        by_espeak: bool,
    ) -> ReadingRules:
        settings = self._settings
        cleaning = settings.text_cleaning if request.text_cleaning is None else request.text_cleaning
        lexicons = (*own, *self._lexicon.get(language, account))
        return ReadingRules(
            language=language,
            cleaning=cleaning,
            numbers=settings.numbers,
            lexicons=lexicons,
            own=tuple(own),
            spelt=tuple(lexicon for lexicon in lexicons if by_espeak and lexicon.has_phonemes),
            soundless=SOUNDLESS if by_espeak else None,
            read_code=settings.read_code,
        )
