"""What eSpeak NG reads along: found once for those who time words and those who look for them."""

from orpheus_openai.audio import align
from orpheus_openai.catalog import EspeakVoice
from orpheus_openai.models.preview.reading import Reader
from orpheus_openai.speech import readings as room
from orpheus_openai.speech.readings import MOST_KEPT, Readings
from orpheus_openai.speech.timer import Timer
from orpheus_openai.speech.verification import Ears, Verification
from orpheus_openai.speech.words import WordTimes
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
