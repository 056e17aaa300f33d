"""What eSpeak NG reads along: found once for those who time words and those who look for them."""

import pytest

from orpheus_openai.audio import align
from orpheus_openai.catalog import EspeakVoice, load_catalog
from orpheus_openai.models.preview.reading import Reader
from orpheus_openai.speech import readings as room
from orpheus_openai.speech.readings import MOST_KEPT, Readings
from orpheus_openai.speech.script import Script
from orpheus_openai.speech.segments import spoken
from orpheus_openai.speech.timer import Timer
from orpheus_openai.speech.verification import Ears, Verification
from orpheus_openai.speech.words import WordTimes
from orpheus_openai.synthesis import Sampling, Usage
from orpheus_openai.text.split import split

TEXT = "The keeper of the lighthouse wrote the weather into a book at four."
ENGLISH = EspeakVoice("en-us")


class CountingReader(Reader):
    count = 0

    async def read(self, text, voice, spelt=()):
        self.count += 1
        return await super().read(text, voice, spelt)


async def test_words_that_are_timed_and_looked_for_are_read_and_aligned_once(monkeypatch):
    fits = []

    def counting_fit(*given):
        fits.append(given)
        return align.fit(*given)

    monkeypatch.setattr(room, "fit", counting_fit)
    reader = CountingReader([])
    try:
        (segment,) = split(TEXT, "en")
        pcm = (await Reader.read(reader, segment.text, ENGLISH)).pcm
        readings = Readings(reader, lambda _manner: ENGLISH, [], users=2)
        times = WordTimes(Timer(readings, speed=1.0, is_preview=False), TEXT)
        verification = Verification(readings, retry=False, ears=Ears())
        examination = verification.examine(segment)
        examination.heard = True
        trial = examination.trial()
        times.begin(segment)
        trial.add(pcm)
        times.hear(pcm)
        examination.hear()
        trial.over(ended=True)
        trial.finish()
        examination.settle(trial, 1)
        await times.end(0)
        await verification.rest()
        (timed,) = await times.rest()
    finally:
        await reader.close()
    assert (reader.count, len(fits)) == (1, 1)
    assert [found.verdict for found in verification.verdicts] == ["ok"]
    assert timed.timing == "aligned"
    assert [word.word for word in timed.words] == TEXT.removesuffix(".").split()
    assert not readings._kept, "nothing is kept of what both are done with"


async def test_of_segments_that_nobody_is_done_with_few_are_kept():
    reader = CountingReader([])
    try:
        readings = Readings(reader, lambda _manner: ENGLISH, [], users=2)
        for segment in split("\n\n".join(["Yes."] * (2 * MOST_KEPT)), "en"):
            await readings.read(segment)
            readings.done(segment)
        assert len(readings._kept) == MOST_KEPT
    finally:
        await reader.close()


class Reciter:
    """A model that says of each segment what eSpeak NG reads of another text: a word less when it is first asked."""

    alive = True

    def __init__(self, reader):
        self.reader, self.tries = reader, 0

    def synthesize(self, text, voice, sampling, usage):
        raise NotImplementedError

    async def watched(self, text, _voice, _sampling, _usage, watch):
        self.tries += 1
        said = text.replace("lighthouse ", "") if self.tries == 1 else text
        yield (await self.reader.read(said, ENGLISH)).pcm
        watch.over(ended=True)

    async def close(self):
        pass


@pytest.mark.parametrize(("retry_words", "found"), [(False, ("suspect:words", 1)), (True, ("retried", 2))])
async def test_a_word_that_is_missing_is_told_and_where_that_is_wanted_spoken_again(retry_words, found):
    reader = Reader([])
    try:
        speaker = Reciter(reader)
        readings = Readings(reader, lambda _manner: ENGLISH, [])
        looking = Verification(readings, retry=True, ears=Ears(), retry_words=retry_words)
        voice = load_catalog().voices["tara"]
        script = Script(TEXT, iter(split(TEXT, "en")), in_thread=False)
        spoken_so = spoken(
            speaker, script, lambda _: voice, Sampling(), Usage(), verification=looking, whole=True
        )
        async for _ in spoken_so:
            pass
        await looking.rest()
    finally:
        await reader.close()
    (verdict,) = looking.verdicts
    assert (verdict.verdict, verdict.tries) == found
