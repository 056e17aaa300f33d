"""Which texts the server's owner does not want spoken: a block list, endless repetition, their own moderator."""

import asyncio
import importlib
import importlib.metadata
import inspect
import itertools
import logging
import re
import sys
import unicodedata
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from orpheus_openai.errors import ConfigurationError, ContentRefusedError, NotReadyError, SpeechError
from orpheus_openai.text.lexicon import EAST

Moderator = Callable[[str], Awaitable[str | None]]
"""Given the text; None lets it pass, words refuse it and tell the caller why."""

ENTRY_POINTS = "orpheus_openai.moderation"
MODERATION_SECONDS = 10.0
LONG_TEXT = 1_000
"""Characters from which looking takes a millisecond, and is done in a thread."""

PIECE_CHARS = 4_000
"""As much is looked at in one go; a text of 50 000 characters may have 300 000 in words."""

CONTEXT_WORDS = 50
"""Words before a piece of a text that its judge is given with it, if the rules need no more."""

LONGEST_PHRASE = 8
"""Words of a phrase whose repetition is noticed."""

# Each sign of a script without spaces is taken for a word. In others a vowel sign or an accent, which \w does not
# know, belongs to its word.
_MARKS = "\u0300-\u036f\u0900-\u0903\u093a-\u094f\u0962\u0963"
_WORD = re.compile(f"[{EAST}]|[^\\W_{EAST}](?:[^\\W_{EAST}]|[{_MARKS}])*")

logger = logging.getLogger(__name__)


class InputFilter:
    """What every text passes before it is spoken."""

    def __init__(
        self, blocked: Sequence[str] = (), max_repetition: int = 0, moderator: Moderator | None = None
    ) -> None:
        """Words and phrases that are `blocked`; how often in a row one may stand (0: no limit)."""
        self._blocked: defaultdict[str, list[list[str]]] = defaultdict(list)
        for words in filter(None, map(_words, blocked)):
            self._blocked[words[0]].append(words)
        self._max_repetition = max_repetition
        self._moderator = moderator

    @property
    def active(self) -> bool:
        """Whether any text can be refused at all."""
        return bool(self._blocked or self._max_repetition or self._moderator)

    async def check(self, text: str) -> None:
        """Raise ContentRefusedError if `text` is not to be spoken, NotReadyError if nobody can tell.

        A text that the moderator fails to judge is not spoken.
        """
        if self._blocked or self._max_repetition:
            if len(text) < LONG_TEXT:
                self._look(text)
            else:
                await asyncio.to_thread(self._look, text)
        if self._moderator is not None:
            await _ask(self._moderator, text)

    def follow(self) -> Callable[[str], Awaitable[None]]:
        """A `check` for the pieces of one text in their order: each is judged with the end of those before it."""
        longest = max((len(phrase) for phrases in self._blocked.values() for phrase in phrases), default=0)
        reach = max(longest, LONGEST_PHRASE * self._max_repetition, CONTEXT_WORDS)
        before = ""

        async def check(piece: str) -> None:
            nonlocal before
            if self.active:
                before = f"{before} {piece}".lstrip()
                await self.check(before)
                before = _last_words(before, reach)

        return check

    def _look(self, text: str) -> None:
        words = _words(text)
        for at, word in enumerate(words):
            for phrase in self._blocked.get(word, ()):
                if words[at : at + len(phrase)] == phrase:
                    raise ContentRefusedError(
                        "The text contains a word or phrase that this server does not speak.", param="input"
                    )
        if self._max_repetition and _repetitions(words) > self._max_repetition:
            raise ContentRefusedError(
                f"The text repeats itself more than {self._max_repetition} times in a row; shorten it.",
                param="input",
                code="too_repetitive",
            )


async def _ask(moderator: Moderator, text: str) -> None:
    try:
        async with asyncio.timeout(MODERATION_SECONDS):
            reason = await moderator(text)
    except SpeechError:
        raise
    except Exception as error:
        logger.exception("the moderator failed")
        raise NotReadyError(
            "The text could not be checked, and is not spoken unchecked; try again later.",
            code="moderation_unavailable",
            retry_after=5,
        ) from error
    if reason is not None:
        raise ContentRefusedError(reason or "The moderator refused the text.", param="input")


def load_blocked(setting: str) -> list[str]:
    """Words and phrases from ORPHEUS_BLOCK_LIST: a file with one a line, `#` before comments, or a comma list.

    Raises ConfigurationError for a file that is not there, and for a list that is set but blocks nothing.
    """
    if not re.search(r"^[/~.]|\.txt$", setting):
        blocked = setting.split(",")
    else:
        try:
            lines = Path(setting).expanduser().read_text(encoding="utf-8-sig").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigurationError(f"ORPHEUS_BLOCK_LIST={setting}: cannot be read ({error})") from error
        blocked = [line for line in lines if not line.lstrip().startswith("#")]
    if setting and not any(map(_words, blocked)):
        raise ConfigurationError(
            f"ORPHEUS_BLOCK_LIST={setting}: it is set, but holds no words; leave it empty"
        )
    return blocked


def load_moderator(setting: str) -> Moderator | None:
    """The callable ORPHEUS_MODERATION names: `package.module:function`, or an entry point; None for an empty name.

    Raises ConfigurationError when there is none of that name, or it is not asynchronous.
    """
    if not setting:
        return None
    try:
        moderator = _import(setting)
    except Exception as error:
        raise ConfigurationError(
            f"ORPHEUS_MODERATION={setting}: cannot be imported ({error}); write package.module:function"
        ) from error
    if not inspect.iscoroutinefunction(moderator) and not inspect.iscoroutinefunction(
        getattr(moderator, "__call__", None)  # noqa: B004  an object whose call is asynchronous will do
    ):
        raise ConfigurationError(f"ORPHEUS_MODERATION={setting}: this is not an asynchronous function")
    return moderator  # type: ignore[no-any-return]


def _import(name: str) -> Any:
    module, _, attribute = name.partition(":")
    if attribute:
        here = str(Path.cwd())
        if here not in sys.path:
            sys.path.append(here)  # last: nothing there takes the place of what is installed
        found: Any = importlib.import_module(module)
        for part in attribute.split("."):
            found = getattr(found, part)
        return found
    known = importlib.metadata.entry_points(group=ENTRY_POINTS)
    if name not in known.names:
        raise LookupError(f"no entry point of that name in the group {ENTRY_POINTS}")
    return known[name].load()


def _last_words(text: str, words: int) -> str:
    starts = [found.start() for found in _WORD.finditer(text)]
    return text[starts[-words] :] if len(starts) > words else text


def _words(text: str) -> list[str]:
    return [word for piece in _pieces(text) for word in _words_of(piece)]


def _words_of(piece: str) -> list[str]:
    return _WORD.findall(unicodedata.normalize("NFKC", piece).casefold())


def _pieces(text: str) -> Iterator[str]:
    """Yield `text` in pieces that end with a space: whoever looks at one lets nobody else do anything."""
    start = 0
    while start < len(text):
        end = text.find(" ", start + PIECE_CHARS) + 1 or len(text)
        yield text[start:end]
        start = end


def _repetitions(words: Sequence[str]) -> int:
    """How often in a row the most repeated letter, word or phrase stands."""
    most = max((sum(1 for _ in run) for word in words for _, run in itertools.groupby(word)), default=0)
    for length in range(1, min(LONGEST_PHRASE, len(words) // 2) + 1):
        same = map(str.__eq__, words, words[length:])
        longest = max(sum(1 for _ in run) if equal else 0 for equal, run in itertools.groupby(same))
        most = max(most, longest // length + 1)
    return most
