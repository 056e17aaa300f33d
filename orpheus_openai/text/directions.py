"""Stage directions, as people and language models write them: `[laughs]`, `(sighs)`, `*chuckles*`, `<laughing>`."""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence

from orpheus_openai.text.trace import Edit, Traced

LEFT_OUT = "left_out"


class Directions:
    """The words that are directions; any others in brackets are spoken."""

    def __init__(self, emotion_tags: Sequence[str], tables: Sequence[Mapping[str, Sequence[str]]]) -> None:
        """All tags by name, and tables of words for them and, under LEFT_OUT, of those that no tag can act."""
        self._tags = {tag.casefold(): tag for tag in emotion_tags}
        for table in tables:
            for tag, meanings in table.items():
                self._tags |= {word.casefold(): tag if tag in emotion_tags else LEFT_OUT for word in meanings}
        # Any words of their letters: to try hundreds of words at every bracket would hold everybody up.
        letters = {char for word in self._tags for char in word}
        longest = max(map(len, self._tags), default=1)
        words = rf"{_any_of(letters)}{{0,{longest - 1}}}{_any_of(letters - {' '})}"
        # Every way begins with a sign, so that the search leaps from one to the next.
        self._pattern = re.compile(
            rf"(?:\[\s?(?P<square>{words})\s?\]|\(\s?(?P<round>{words})\s?\)|（(?P<wide>{words})）|【(?P<black>{words})】"
            rf"|\*(?<![*\w]\*)(?P<stars>\*{{0,2}})\s?(?P<starred>{words})\s?\*(?P=stars)(?![*\w])"
            rf"|_(?<!\w_)(?P<low>{words})_(?!\w)|<\s?(?P<angle>{words})\s?/?>)",
            re.IGNORECASE,
        )

    def acted(self, text: Traced) -> Traced:
        """`text` with emotion tags in the place of directions, and without those that nobody can act."""
        return text.edited(self._edits(text.text))

    def _edits(self, text: str) -> Iterator[Edit]:
        at = 0
        while (found := self._pattern.search(text, at)) is not None:
            words = next(words for name, words in found.groupdict().items() if words and name != "stars")
            tag = self._tags.get(words.casefold())
            if tag is None:
                at = found.start() + 1  # what ends this may begin another
                continue
            at = found.end()
            said = " " if tag == LEFT_OUT else f"<{tag}>"
            if said != found[0]:
                yield Edit(found.start(), at, said)


def _any_of(letters: Collection[str]) -> str:
    """Match one of them; never, where there are none."""
    return f"[{re.escape(''.join(sorted(letters)))}]" if letters else "(?!)"
