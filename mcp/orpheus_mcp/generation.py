"""One speech on its way into a file, and what can be told of it meanwhile."""

import asyncio
import time

import anyio
from fastmcp import Context

from orpheus_openai.gpu.manager import GPUManager
from orpheus_openai.gpu.slot import ModelState
from orpheus_openai.http.delivery import delivered
from orpheus_openai.outputs import OutputFolder, SavedFile
from orpheus_openai.speech.speech import Speech

PROGRESS_SECONDS = 1.0
"""Between two notices: far less than the minute after which clients give up on a silent server."""


class Generation:
    """Speaks into the output folder; times count from the moment it is made."""

    def __init__(self, speech: Speech, manager: GPUManager, audio_format: str) -> None:
        self.speech = speech
        self._manager = manager
        self._format = audio_format
        self._began = time.monotonic()
        self._told = 0.0

    @property
    def seconds(self) -> float:
        """How long it has been going on."""
        return time.monotonic() - self._began

    async def run(self, outputs: OutputFolder, text: str, context: Context, owner: str | None) -> SavedFile:
        """Speak, save as `owner`'s, and keep the client informed. Cancelling ends the speech and leaves no file.

        Raises SpeechError as `Speech.stream` and `OutputFolder.save` do.
        """
        saving = outputs.save(
            delivered(self.speech, self._format),
            voice=self.speech.voice.id,
            text=text,
            audio_format=self._format,
            owner=owner,
        )
        # MCP cancels by anyio's scopes, which interrupt cleaning up as well; not so in a task of its own.
        task = asyncio.create_task(saving)
        try:
            while not (await asyncio.wait([task], timeout=PROGRESS_SECONDS))[0]:
                await self._report(context)
            saved = task.result()
        finally:
            task.cancel()
            with anyio.CancelScope(shield=True):
                await asyncio.wait([task])
        await self._report(context)
        return saved

    async def _report(self, context: Context) -> None:
        """Progress counts seconds, of waiting and then of audio, and a little where none came.

        MCP wants every notice to be higher than the one before.
        """
        waited = self.speech.report().first_bytes_seconds
        heard = (self.seconds if waited is None else waited) + self.speech.audio_seconds
        self._told = round(max(heard, self._told + 0.001), 3)
        await context.report_progress(self._told, message=self._in_words())

    def _in_words(self) -> str:
        if self.speech.samples:
            return f"{self.speech.audio_seconds:.1f} s of speech"
        model = self.speech.model.id
        states = {status.id: status.state for status in self._manager.get_status()}
        doing = "Loading" if states.get(model) is ModelState.LOADING else "Waiting for"
        return f"{doing} {model}, {self.seconds:.0f} s so far"
