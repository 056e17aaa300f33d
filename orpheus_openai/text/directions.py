"""Stage directions, as people and language models write them: `[laughs]`, `(sighs)`, `*chuckles*`, `<laughing>`."""

import re
from collections.abc import Mapping, Sequence

from orpheus_openai.text.trace import Traced

LEFT_OUT = "left_out"


class Directions:
    """The words that are directions; any others in brackets are spoken."""

    def __init__(self, emotion_tags: Sequence[str], tables: Sequence[Mapping[str, Sequence[str]]]) -> None:
        """All tags by name, and tables of words for them and, under LEFT_OUT, of those that no tag can act."""
        self._tags = {tag.casefold(): tag for tag in emotion_tags}
        for table in tables:
            for tag, meanings in table.items():
                self._tags |= {word.casefold(): tag if tag in emotion_tags else LEFT_OUT for word in meanings}
        every = sorted(self._tags, key=len, reverse=True)
        words = "|".join(map(re.escape, every)) or r"(?!)"
        self._pattern = re.compile(
            rf"(?:\[\s?(?P<square>{words})\s?\]|\(\s?(?P<round>{words})\s?\)|（(?P<wide>{words})）|【(?P<black>{words})】"
            rf"|(?<![*\w])(?P<stars>\*{{1,3}})\s?(?P<starred>{words})\s?(?P=stars)(?![*\w])"
            rf"|(?<!\w)_(?P<low>{words})_(?!\w)|<\s?(?P<angle>{words})\s?/?>)",
            re.IGNORECASE,
        )

    def acted(self, text: Traced) -> Traced:
        """`text` with emotion tags in the place of directions, and without those that nobody can act."""
        return text.sub(self._pattern, self._act)

    def _act(self, found: re.Match[str]) -> str:
        words = next(words for name, words in found.groupdict().items() if words and name != "stars")
        tag = self._tags.get(words.casefold(), LEFT_OUT)
        return " " if tag == LEFT_OUT else f"<{tag}>"
