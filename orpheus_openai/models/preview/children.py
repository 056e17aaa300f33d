"""The server's end of eSpeak NG's processes: the parent, and a child for each speech."""

import asyncio
import contextlib
import itertools
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Final

from orpheus_openai.errors import (
    RETRY_SECONDS,
    EngineError,
    ModelUnavailableError,
    NotReadyError,
    SpeechError,
)
from orpheus_openai.installation import installing
from orpheus_openai.models.preview import process

START_SECONDS: Final = 30.0
"""The parent is up after some 30 ms; a machine on which it takes so long has other worries."""
STALL_SECONDS: Final = 60.0
"""A child that gives nothing for so long, while somebody waits for it, hangs."""
_RECEIVE_BYTES: Final = 65_536


class ChildDiedError(Exception):
    """It ended before it had spoken everything."""

    def __init__(self, cause: str, *, of_the_text: bool) -> None:
        super().__init__(cause)
        self.of_the_text = of_the_text
        """The same text would do the same again."""


class ParentDiedError(Exception):
    """And its children with it, whatever they spoke."""


class Parent:
    """The process that forks. May be used from any thread; only a child's methods belong to an event loop."""

    def __init__(self) -> None:
        """Start it and wait until it is ready.

        Raises ModelUnavailableError when there is no eSpeak NG, NotReadyError when the process does not start.
        """
        library, data = _find()
        self._control, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(  # noqa: S603 - nothing of a request is in it
                [sys.executable, "-I", "-S", process.__file__, library, data],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                env={},  # no secret of the server's
                cwd="/",
                start_new_session=True,
            )
        self._numbers = itertools.count(1)
        self._reports: dict[int, int | None] = {}
        """How the children ended, of those who are listened to; None while that is unknown."""
        self.alive = True
        self._control.settimeout(START_SECONDS)
        if len(_receive(self._control, process.REPORT.size)) < process.REPORT.size:
            self.end()
            raise _why_not(self._process.returncode, library, data)
        self._control.setblocking(False)

    def fork(self, niceness: int) -> "Child":
        """A new child, `niceness` from 0 to 19, that waits for its request.

        Raises ParentDiedError, or EngineError when there are too many open files or it takes no more orders.
        """
        number = next(self._numbers)
        try:
            ours, theirs = socket.socketpair()
        except OSError as error:
            raise EngineError(f"The preview cannot speak now: {error.strerror}.") from error
        with theirs:
            ours.setblocking(False)
            theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, process.SEND_BYTES)
            try:
                socket.send_fds(self._control, [process.FORK.pack(number, niceness)], [theirs.fileno()])
            except BlockingIOError as error:
                ours.close()
                raise EngineError("The preview's eSpeak NG process no longer answers.") from error
            except OSError as error:
                ours.close()
                raise ParentDiedError from error
        self._reports[number] = None
        return Child(self, number, ours)

    def ending(self, number: int) -> int | None:
        """How that child ended, as far as the parent has said; raises ParentDiedError when it will say no more."""
        closed = False
        try:
            while report := self._control.recv(process.REPORT.size):
                reported, status = process.REPORT.unpack(report)
                if reported in self._reports:
                    self._reports[reported] = status
            closed = True
        except BlockingIOError:
            pass
        except OSError:
            closed = True
        if closed and self._reports[number] is None:
            raise ParentDiedError
        return self._reports[number]

    def forget(self, number: int) -> None:
        """Nobody listens to that child any more."""
        self._reports.pop(number, None)

    def end(self) -> None:
        """Kill it, if need be, with all its children, and wait until it is gone."""
        self.alive = False
        self._process.kill()
        self._control.close()
        self._process.wait()


class Child:
    """One speech's process, somewhere on its way."""

    def __init__(self, parent: Parent, number: int, connection: socket.socket) -> None:
        self._parent = parent
        self._number = number
        self._connection = connection
        self._begun = False

    async def frames(self, request: bytes) -> AsyncGenerator[tuple[int, bytes]]:
        """Send `request`; yields the frames that come back, kind and payload, and never ends by itself.

        Raises ChildDiedError when no more will come, ParentDiedError when that is why.
        """
        loop = asyncio.get_running_loop()
        received = bytearray()
        try:
            async with asyncio.timeout(STALL_SECONDS):
                await loop.sock_sendall(self._connection, request)
            while True:
                async with asyncio.timeout(STALL_SECONDS):
                    piece = await loop.sock_recv(self._connection, _RECEIVE_BYTES)
                if not piece:
                    raise self._ending()
                received += piece
                while (frame := _take_frame(received)) is not None:
                    if frame[0] == process.HELLO:
                        self._begun = True
                        continue
                    yield frame
                    # What is there already is taken without a wait: others shall have their turn, too.
                    await asyncio.sleep(0)
        except TimeoutError:
            if self._begun:
                raise ChildDiedError(f"it gave nothing for {STALL_SECONDS:.0f} s", of_the_text=True) from None
            self._parent.end()  # it does not even fork
            raise ParentDiedError from None
        except ConnectionError:
            raise self._ending() from None

    def close(self) -> None:
        """Kill it, unless it has ended."""
        self._connection.close()
        self._parent.forget(self._number)

    def _ending(self) -> Exception:
        try:
            status = self._parent.ending(self._number)
        except ParentDiedError as error:
            return error
        if status is None:
            return ChildDiedError("it exited without a word", of_the_text=False)
        if status >= process.NO_FORK:
            return ChildDiedError(
                f"none could be started (errno {status - process.NO_FORK})", of_the_text=False
            )
        if status >= 0:
            return ChildDiedError(f"exit code {status}", of_the_text=False)
        if -status == signal.SIGXCPU:
            return ChildDiedError("it took too much processor time", of_the_text=True)
        # SIGKILL comes from outside: an operator, or a system that is short of memory.
        return ChildDiedError(_name(-status), of_the_text=-status != signal.SIGKILL)


def _take_frame(received: bytearray) -> tuple[int, bytes] | None:
    """Take the first frame off `received`; None when it is not whole yet."""
    if len(received) < process.FRAME.size:
        return None
    kind, length = process.FRAME.unpack_from(received)
    end = process.FRAME.size + length
    if len(received) < end:
        return None
    payload = bytes(received[process.FRAME.size : end])
    del received[:end]
    return kind, payload


def _receive(connection: socket.socket, size: int) -> bytes:
    """Receive so many bytes, fewer when the other end closes or takes too long."""
    received = b""
    with contextlib.suppress(OSError):
        while len(received) < size and (piece := connection.recv(size - len(received))):
            received += piece
    return received


def _name(number: int) -> str:
    with contextlib.suppress(ValueError):
        return signal.Signals(number).name
    return f"signal {number}"


def _find() -> tuple[str, str]:
    """Paths of the library and of its data."""
    try:
        import espeakng_loader  # noqa: PLC0415 - an extra, needed by the preview alone

        return str(espeakng_loader.get_library_path()), str(espeakng_loader.get_data_path())
    except (ImportError, OSError, RuntimeError) as error:
        raise ModelUnavailableError(
            "The preview voice needs eSpeak NG. Install the preview extra: "
            f"{installing('preview')} ({error})."
        ) from error


def _why_not(code: int | None, library: str, data: str) -> SpeechError:
    if code == process.NO_DATA:
        return ModelUnavailableError(
            f"The preview cannot speak: eSpeak NG did not accept its data in {Path(data)}. Install it afresh, "
            f"in a folder with a path of less than 160 characters: {installing('preview')}."
        )
    if code == process.NO_LIBRARY:
        return ModelUnavailableError(
            f"The preview cannot speak: {library} cannot be loaded; the log says why. Install it afresh: "
            f"{installing('preview')}."
        )
    return NotReadyError(
        f"The preview cannot speak: its process did not start (exit code {code}); the log says why.",
        code="model_load_failed",
        retry_after=RETRY_SECONDS,
    )
