"""A model's file on its way to this machine, for a server: what `orpheus-openai pull` does, watched and broken off."""

import asyncio
import contextlib
import os
import shutil
import sys
from collections.abc import Callable
from typing import Annotated, Literal, TypeAlias

import msgspec
from msgspec import Meta

from orpheus_openai.catalog import Model
from orpheus_openai.errors import BusyError
from orpheus_openai.events import EventHub
from orpheus_openai.models.hub import hub_cache
from orpheus_openai.models.pull import RepositoryFile, check_room, is_here, offered

LONGEST = 12 * 3_600.0
"""Seconds after which a download is given up; what has come is taken up by the next."""

LOOK_SECONDS = 1.0
"""From one look at how much there is to the next."""

_SAID = 4_000
"""Characters of what it says last that are kept."""


Then: TypeAlias = Callable[[str], str]
"""Says, of the name of a file that has come, what is to be done to speak with it."""


class DownloadOffer(msgspec.Struct, frozen=True, kw_only=True):
    """A file that would be downloaded."""

    model: Annotated[str, Meta(examples=["medium-3b"])]
    name: Annotated[
        str,
        Meta(description="What a setting calls it.", examples=["unsloth/orpheus-3b-0.1-ft-GGUF:q4_k_m"]),
    ]
    bytes: Annotated[int, Meta(description="Its size.", examples=[2363000000])]
    free_bytes: Annotated[int, Meta(description="Free on the disk it comes to.", examples=[50000000000])]
    here: Annotated[bool, Meta(description="Whether it is on this machine already.")]


class Download(msgspec.Struct, frozen=True, kw_only=True):
    """A download, on its way or the last there was of its model."""

    model: Annotated[str, Meta(examples=["medium-3b"])]
    name: Annotated[str, Meta(examples=["unsloth/orpheus-3b-0.1-ft-GGUF:q4_k_m"])]
    state: Literal["running", "done", "failed", "cancelled"]
    bytes: Annotated[int, Meta(description="How much it is.", examples=[2363000000])]
    done_bytes: Annotated[int, Meta(description="How much of it has come.", examples=[1200000000])]
    message: Annotated[
        str, Meta(description="Why it failed, or what is to be done to speak with it; empty: nothing.")
    ]


class Downloads:
    """One at a time; the last of each model is remembered."""

    def __init__(self, events: EventHub) -> None:
        self._events = events
        self._known: dict[str, Download] = {}
        self._running: asyncio.Task[None] | None = None
        self._starting = False

    def all(self) -> list[Download]:
        """What is on its way, and how the last one of each model ended."""
        return list(self._known.values())

    async def offer(self, model: Model, quantisation: str | None = None) -> DownloadOffer:
        """What `start` would download; raises as `pull` does where there is nothing to be had."""
        found = await asyncio.to_thread(offered, model, quantisation)
        return await asyncio.to_thread(_described, model, found)

    async def start(self, model: Model, quantisation: str | None, then: Then) -> Download:
        """Begin to download; `then` says, when it is here, what is to be done to speak with it.

        Raises as `pull` does, and BusyError while another one is on its way.
        """
        if self._starting or (self._running is not None and not self._running.done()):
            raise BusyError(
                "A model is being downloaded, and there can be only one at a time. Wait until it is done, or cancel it."
            )
        self._starting = True
        try:
            found = await asyncio.to_thread(offered, model, quantisation)
            await asyncio.to_thread(check_room, found)
            begun = Download(
                model=model.id, name=found.name, state="running", bytes=found.size, done_bytes=0, message=""
            )
            self._tell(begun)
            self._running = asyncio.create_task(self._run(begun, found, then), name=f"download {model.id}")
        finally:
            self._starting = False
        return begun

    async def cancel(self, model: Model) -> Download | None:
        """Break off the one of that model, and return how it stands; None where there never was one."""
        known = self._known.get(model.id)
        if known is not None and known.state == "running" and self._running is not None:
            self._running.cancel()
            await asyncio.wait([self._running])
        return self._known.get(model.id)

    async def close(self) -> None:
        """Break off what is on its way."""
        if self._running is not None:
            self._running.cancel()
            await asyncio.wait([self._running])

    async def _run(self, begun: Download, found: RepositoryFile, then: Then) -> None:
        state, message = "failed", "It was not finished."
        try:
            async with asyncio.timeout(LONGEST):
                code, said = await self._pulled(begun, found)
            state, message = ("done", then(found.name)) if code == 0 else ("failed", said)
        except TimeoutError:
            message = f"It was not finished within {LONGEST / 3_600:.0f} hours; start it again to go on."
        except asyncio.CancelledError:
            state, message = "cancelled", "What has come is kept; start it again to go on."
            raise
        except OSError as error:
            message = f"It could not be started ({error.strerror})."
        finally:
            last = self._known[begun.model]
            done = begun.bytes if state == "done" else last.done_bytes
            self._tell(msgspec.structs.replace(last, state=state, done_bytes=done, message=message))

    async def _pulled(self, begun: Download, found: RepositoryFile) -> tuple[int, str]:
        """Run `orpheus-openai pull` to its end: its exit status, and what it said last."""
        process = await asyncio.create_subprocess_exec(
            *(
                sys.executable,
                "-P",
                "-m",
                "orpheus_openai",
                "pull",
                begun.model,
                "--quant",
                found.quantisation,
            ),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
            env={**os.environ, "HF_HUB_DISABLE_PROGRESS_BARS": "1"},
        )
        said = bytearray()
        watching = asyncio.create_task(self._watch(found))
        try:
            while process.stderr is not None and (piece := await process.stderr.read(4_096)):
                said += piece
                del said[:-_SAID]
            code = await process.wait()
        finally:
            watching.cancel()
            if process.returncode is None:
                process.kill()
                await process.wait()
        lines = said.decode("utf-8", "replace").split("\n")
        last = next((line.strip() for line in reversed(lines) if line.strip()), "")
        return code, last or f"It ended with status {code}."

    async def _watch(self, found: RepositoryFile) -> None:
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            arrived = await asyncio.to_thread(_arrived, found)
            for known in [d for d in self._known.values() if d.state == "running"]:
                if known.done_bytes != arrived:
                    self._tell(msgspec.structs.replace(known, done_bytes=min(arrived, known.bytes)))

    def _tell(self, download: Download) -> None:
        self._known[download.model] = download
        self._events.publish("model.download", **msgspec.structs.asdict(download))


def _described(model: Model, found: RepositoryFile) -> DownloadOffer:
    folder = hub_cache()
    while not folder.exists():
        folder = folder.parent
    return DownloadOffer(
        model=model.id,
        name=found.name,
        bytes=found.size,
        free_bytes=shutil.disk_usage(folder).free,
        here=is_here(found),
    )


def _arrived(found: RepositoryFile) -> int:
    """Bytes of it that are in the cache; its blobs are named by their checksums."""
    blobs = hub_cache() / f"models--{found.repo.replace('/', '--')}" / "blobs"
    sizes = [0]
    for blob in blobs.glob(f"{found.sha256}*") if found.sha256 else ():
        with contextlib.suppress(OSError):
            sizes.append(blob.stat().st_size)
    return max(sizes)
