"""Speech that is heard at once, through whichever player this machine has."""

import asyncio
import contextlib
import shutil
import subprocess
from collections.abc import AsyncGenerator

from orpheus_openai.audio import PCM, SAMPLE_RATE
from orpheus_openai.errors import ConfigurationError, SpeechError

PLAYERS = (
    ("pw-cat", "--playback", "--raw", f"--rate={SAMPLE_RATE}", "--channels=1", "--format=s16", "-"),
    ("paplay", "--raw", f"--rate={SAMPLE_RATE}", "--channels=1", "--format=s16le"),
    ("aplay", "-q", "-t", "raw", "-f", "S16_LE", "-r", str(SAMPLE_RATE), "-c", "1", "-"),
    ("mpv", "--no-terminal", "--no-video", "--demuxer=rawaudio", "--demuxer-rawaudio-format=s16le",
     f"--demuxer-rawaudio-rate={SAMPLE_RATE}", "--demuxer-rawaudio-channels=1", "-"),
    ("ffplay", "-loglevel", "error", "-nodisp", "-autoexit", "-f", "s16le", "-ar", str(SAMPLE_RATE), "-i", "-"),
    ("play", "-q", "-t", "raw", "-r", str(SAMPLE_RATE), "-e", "signed", "-b", "16", "-c", "1", "-"),
)  # fmt: skip
"""Programs that play raw PCM from standard input: PipeWire's, PulseAudio's, ALSA's, mpv, FFmpeg's, SoX's."""


class Player:
    """A program that plays what it is given."""

    def __init__(self, command: tuple[str, ...]) -> None:
        self.name = command[0]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)  # noqa: S603

    async def play(self, pcm: PCM) -> None:
        """Hand `pcm` over; waits while the player has enough. Raises SpeechError when it has ended."""
        assert self._process.stdin is not None  # noqa: S101  it is a pipe
        try:
            await asyncio.to_thread(self._process.stdin.write, pcm.astype("<i2", copy=False).tobytes())
            await asyncio.to_thread(self._process.stdin.flush)
        except BrokenPipeError:
            raise SpeechError(f"{self.name} ended before the speech did") from None

    async def finish(self) -> None:
        """Wait until all has been heard. Raises SpeechError when the player failed."""
        assert self._process.stdin is not None  # noqa: S101  it is a pipe
        self._process.stdin.close()
        if code := await asyncio.to_thread(self._process.wait):
            raise SpeechError(f"{self.name} could not play the speech (exit code {code})")

    def stop(self) -> None:
        """End it, in the middle of a word if need be."""
        if self._process.poll() is None:
            self._process.terminate()
            self._process.wait()
        if self._process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                self._process.stdin.close()


@contextlib.asynccontextmanager
async def playing() -> AsyncGenerator[Player]:
    """The first player that is here, until all has been heard. Raises ConfigurationError where there is none."""
    command = next((each for each in PLAYERS if shutil.which(each[0])), None)
    if command is None:
        names = ", ".join(each[0] for each in PLAYERS)
        raise ConfigurationError(f"--play needs a player, and none of these is here: {names}")
    player = Player(command)
    try:
        yield player
        await player.finish()
    finally:
        player.stop()
