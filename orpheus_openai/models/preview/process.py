"""eSpeak NG in processes of its own: a small warm parent forks a child for each speech.

    python -I -S process.py LIBRARY DATA

It runs as a script on the standard library alone, with one end of a UNIX stream socket, the control, as its standard
input. Native code that meets strangers' text may die of it; here that ends one child. Every child starts from the
same state, so that the same text, voice and settings give the same samples.

Control, server to parent: `FORK` records, each with the socket of one speech attached. Parent to server: `REPORT`
records, the first one (number 0) when it is ready, then one for each child that did not end by itself. When the
control closes, or the parent dies, all children are killed; so is a child whose socket the server has closed.

A speech's socket carries frames: `FRAME` (kind, length), then so many bytes. See the kinds below.
"""

import contextlib
import ctypes
import os
import resource
import select
import signal
import socket
import struct
import sys
from typing import Final, NoReturn

ESPEAK_SAMPLE_RATE: Final = 22_050
"""Samples a second of what eSpeak NG's formant voices speak; mono, int16."""

BUFFER_MS: Final = 200
"""How much audio eSpeak NG gathers before it hands it over. The first sound waits until that much is computed:
0.24 ms, against 0.09 ms for 60 ms. Each handover costs the server more than that; and 60 ms give a listener next
to nothing: MP3 no frame at all, Opus 14 ms."""

RANDOM_SEED: Final = 1

MAX_CHILDREN: Final = 256

FORK: Final = struct.Struct("!IB")
"""The speech's number and how nice its child shall be to other processes, 0 to 19."""
REPORT: Final = struct.Struct("!Ii")
"""The speech's number and how its child ended: an exit code, or a signal as a negative number; NO_FORK + errno
where none could be started."""
NO_FORK: Final = 1_000

FRAME: Final = struct.Struct("!BI")

# To the child: a voice, then any number of parts, then SPEAK.
VOICE: Final = 1  # VOICE_SETTINGS, then a language in UTF-8, a line feed, and a variant or nothing
TEXT: Final = 2  # OFFSET, then plain text in UTF-8: no SSML, no phoneme names
PHONEMES: Final = 3  # OFFSET, then eSpeak NG's names of phonemes, without the brackets
PAUSE: Final = 4  # MILLISECONDS
SPEAK: Final = 5
# From the child.
HELLO: Final = 16  # once, before it reads: it is there
WORD: Final = 17  # WORD_EVENT, before the samples of that word
PCM: Final = 18  # int16, in the machine's byte order
END: Final = 19  # everything has been spoken
NO_VOICE: Final = 20  # it does not have the voice
FAILED: Final = 21  # why, in UTF-8

VOICE_SETTINGS: Final = struct.Struct("!HHH")
"""Rate in words a minute, pitch and volume of 100."""
OFFSET: Final = struct.Struct("!I")
"""Added to all text positions in the part."""
MILLISECONDS: Final = struct.Struct("!I")
WORD_EVENT: Final = struct.Struct("!III")
"""Sample of the speech at which the word begins, its place in the text and its length, in characters."""

# Limits of one child.
CPU_SECONDS: Final = 10
"""Of processor time, and one more for every CHARACTERS_A_CPU_SECOND: a hundred times what a text takes."""
CHARACTERS_A_CPU_SECOND: Final = 50
MEMORY_BYTES: Final = 256 << 20
FILES: Final = 16
SEND_BYTES: Final = 32_768
"""What a child may be ahead of the server, which the kernel doubles: about a second and a half of sound."""

# Exit codes of the parent.
NO_LIBRARY: Final = 3
NO_DATA: Final = 4

# Names and values as in eSpeak NG's speak_lib.h.
_AUDIO_OUTPUT_SYNCHRONOUS: Final = 2
_INITIALIZE_DONT_EXIT: Final = 0x8000
_CHARS_UTF8: Final = 1
_PHONEMES: Final = 0x100
_END_PAUSE: Final = 0x1000
_POS_CHARACTER: Final = 1
_RATE: Final = 1
_VOLUME: Final = 2
_PITCH: Final = 3
_EVENT_LIST_TERMINATED: Final = 0
_EVENT_WORD: Final = 1

# As in Linux' prctl.h.
_PR_SET_PDEATHSIG: Final = 1
_PR_SET_DUMPABLE: Final = 4
_PR_SET_NO_NEW_PRIVS: Final = 38


class _EspeakEvent(ctypes.Structure):
    _fields_ = (
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", ctypes.c_char * 8),
    )


# Loaded by the parent: what a child touches or makes is memory of its own, and this would be 100 KiB for each.
_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None
_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_int, ctypes.POINTER(_EspeakEvent))


class Library:
    """The library, initialised and warm; it speaks into file descriptor 0."""

    def __init__(self, library: str, data: str) -> None:
        try:
            self._library = ctypes.CDLL(library)
        except OSError as error:
            sys.exit(_complaint(error, NO_LIBRARY))
        self._library.espeak_Synth.argtypes = (
            *(ctypes.c_char_p, ctypes.c_size_t, ctypes.c_uint, ctypes.c_int),
            *(ctypes.c_uint, ctypes.c_uint, ctypes.c_void_p, ctypes.c_void_p),
        )
        rate = self._library.espeak_Initialize(
            _AUDIO_OUTPUT_SYNCHRONOUS, BUFFER_MS, os.fsencode(data), _INITIALIZE_DONT_EXIT
        )
        if rate != ESPEAK_SAMPLE_RATE:
            sys.exit(NO_DATA)
        self._variants = os.path.join(data, "voices", "!v")  # noqa: PTH118 - pathlib would double the start
        self._heard = False
        self._samples = 0
        self._part_at = 0
        self._offset = 0
        self._callback = _Callback(self._on_samples)  # must outlive every call into the library
        self._library.espeak_SetSynthCallback(self._callback)
        # The list of voices is read at the first call, which takes 25 ms: no listener shall wait for it.
        self.select("en-us", "", 175, 50, 100)
        self.speak("a", 0, flags=0)
        self._heard, self._samples = True, 0
        # By default it is the time of the start: no two parents would breathe and flutter alike.
        self._library.espeak_ng_SetRandSeed(ctypes.c_long(RANDOM_SEED))

    def select(self, language: str, variant: str, rate: int, pitch: int, volume: int) -> bool:
        """Take this voice; returns False when there is none."""
        if variant and not os.path.isfile(os.path.join(self._variants, variant)):  # noqa: PTH113, PTH118
            return False
        name = f"{language}+{variant}" if variant else language
        if self._library.espeak_SetVoiceByName(name.encode()):
            return False
        self._library.espeak_SetParameter(_RATE, rate, 0)
        self._library.espeak_SetParameter(_VOLUME, volume, 0)
        self._library.espeak_SetParameter(_PITCH, pitch, 0)
        return True

    def speak(self, text: str, offset: int, *, flags: int, goes_on: bool = False) -> int:
        """Speak `text`, which stands at `offset` in the whole; returns the library's status, 0 for success.

        What `goes_on` has no pause at its end.
        """
        self._part_at, self._offset = self._samples, offset
        data = text.replace("\0", " ").encode("utf-8", "replace")
        flags |= _CHARS_UTF8 | (0 if goes_on else _END_PAUSE)
        status: int = self._library.espeak_Synth(data, len(data) + 1, 0, _POS_CHARACTER, 0, flags, None, None)
        return status

    def pause(self, milliseconds: int) -> None:
        """Send silence."""
        samples = ESPEAK_SAMPLE_RATE * milliseconds // 1_000
        self._samples += samples
        _send(PCM, bytes(2 * samples))

    def _on_samples(self, samples: int | None, count: int, events: "ctypes._Pointer[_EspeakEvent]") -> int:
        """Pass on what the library has spoken; 0 tells it to go on."""
        if not self._heard:
            return 0
        index = 0
        while events and (event := events[index]).type != _EVENT_LIST_TERMINATED:
            if event.type == _EVENT_WORD:
                place = self._offset + max(event.text_position - 1, 0)
                _send(WORD, WORD_EVENT.pack(self._part_at + event.sample, place, max(event.length, 0)))
            index += 1
        if samples and count > 0:
            self._samples += count
            _send(PCM, ctypes.string_at(samples, 2 * count))
        return 0


def main() -> None:
    """Be the parent until the control closes."""
    # Whoever stops the server's whole group or unit means the server, which finishes what it speaks first.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)
    _limit(resource.RLIMIT_CORE, 0)
    _limit(resource.RLIMIT_FSIZE, 0)
    _limit(resource.RLIMIT_NOFILE, 2 * MAX_CHILDREN)
    _limit(resource.RLIMIT_AS, MEMORY_BYTES)
    Parent(Library(*sys.argv[1:])).serve()


class Child:
    """One speech, as the parent sees it."""

    def __init__(self, number: int, pid: int, connection: int) -> None:
        self.number = number
        self.pid = pid
        self.connection = connection
        self.deserted = False
        """Nobody listens any more, and it has been killed."""


class Parent:
    """Forks, reaps, reports, and kills children whose listener has left."""

    def __init__(self, espeak: Library) -> None:
        self._espeak = espeak
        self._pid = os.getpid()
        self._control = socket.socket(fileno=0)
        self._control.setblocking(False)
        self._ended, wake = os.pipe()
        for descriptor in (self._ended, wake):
            os.set_blocking(descriptor, False)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        self._events = select.poll()
        self._events.register(self._control, select.POLLIN)
        self._events.register(self._ended, select.POLLIN)
        self._children: dict[int, Child] = {}
        """By process."""

    def serve(self) -> None:
        """Until the control closes."""
        self._report(0, 0)
        while True:
            ready = {descriptor for descriptor, _ in self._events.poll()}
            for child in self._children.values():
                if child.connection in ready:
                    self._kill(child)
            if self._ended in ready:
                self._reap()
            if self._control.fileno() in ready and not self._receive():
                for child in self._children.values():
                    os.kill(child.pid, signal.SIGKILL)
                return

    def _receive(self) -> bool:
        """Take one order from the control; False when it is closed."""
        try:
            record, ancillary, _, _ = self._control.recvmsg(FORK.size, socket.CMSG_SPACE(4))
        except BlockingIOError:
            return True
        except OSError:
            return False
        if len(record) < FORK.size:
            return False
        number, niceness = FORK.unpack(record)
        for _, _, data in ancillary:
            self._fork(number, niceness, int.from_bytes(data[:4], sys.byteorder))
        return True

    def _fork(self, number: int, niceness: int, connection: int) -> None:
        try:
            pid = os.fork()
        except OSError as error:
            self._report(number, NO_FORK + (error.errno or 0))
            os.close(connection)
            return
        if pid == 0:
            _be_child(self._espeak, self._pid, connection, niceness)
        self._children[pid] = Child(number, pid, connection)
        self._events.register(connection, 0)  # tells of a hang-up alone

    def _kill(self, child: Child) -> None:
        self._events.unregister(child.connection)
        child.deserted = True
        os.kill(child.pid, signal.SIGKILL)

    def _reap(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while os.read(self._ended, 4_096):
                pass
        while self._children:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if not pid:
                return
            child = self._children.pop(pid)
            if not child.deserted:
                self._events.unregister(child.connection)
                if status:
                    self._report(child.number, os.waitstatus_to_exitcode(status))
            os.close(child.connection)  # after the report: whoever reads to the end finds it

    def _report(self, number: int, status: int) -> None:
        # It fails when nobody reads or nobody is there; the next poll tells.
        with contextlib.suppress(OSError):
            self._control.send(REPORT.pack(number, status))


def _be_child(espeak: Library, parent: int, connection: int, niceness: int) -> NoReturn:
    """Speak one request and exit."""
    try:
        _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(0)
        signal.set_wakeup_fd(-1)
        _prctl(_PR_SET_DUMPABLE, 0)
        os.dup2(connection, 0)
        os.dup2(1, 2)  # what the library or glibc has to complain about is told by how the child ends
        os.closerange(3, 2 * MAX_CHILDREN)
        os.nice(niceness)
        _send(HELLO, b"")
        _speak(espeak)
    except BaseException as error:  # noqa: BLE001 - it must not go on as a second parent
        _send(FAILED, repr(error).encode("utf-8", "replace"))
    os._exit(0)


def _speak(espeak: Library) -> None:
    voice, parts = b"", []
    while (frame := _receive_frame())[0] != SPEAK:
        kind, payload = frame
        if kind == VOICE:
            voice = payload
        else:
            parts.append(frame)
    _limit(resource.RLIMIT_CPU, CPU_SECONDS + sum(len(p) for _, p in parts) // CHARACTERS_A_CPU_SECOND)
    _limit(resource.RLIMIT_NOFILE, FILES)
    _limit(resource.RLIMIT_NPROC, 0)
    language, _, variant = voice[VOICE_SETTINGS.size :].decode().partition("\n")
    if not espeak.select(language, variant, *VOICE_SETTINGS.unpack_from(voice)):
        _send(NO_VOICE, b"")
        return
    for number, (kind, payload) in enumerate(parts, 1):
        if kind == PAUSE:
            espeak.pause(*MILLISECONDS.unpack(payload))
            continue
        (offset,) = OFFSET.unpack_from(payload)
        text = payload[OFFSET.size :].decode("utf-8", "replace")
        goes_on = number < len(parts) and parts[number][0] != PAUSE
        if kind == PHONEMES:
            status = espeak.speak(f"[[{text}]]", max(offset - 2, 0), flags=_PHONEMES, goes_on=goes_on)
        else:
            status = espeak.speak(text, offset, flags=0, goes_on=goes_on)
        if status:
            _send(FAILED, b"status %d" % status)
            return
    _send(END, b"")


def _receive_frame() -> tuple[int, bytes]:
    kind, length = FRAME.unpack(_receive_exactly(FRAME.size))
    return kind, _receive_exactly(length)


def _receive_exactly(length: int) -> bytes:
    received = b""
    while len(received) < length:
        piece = os.read(0, length - len(received))
        if not piece:
            os._exit(0)
        received += piece
    return received


def _send(kind: int, payload: bytes) -> None:
    """Wait until the server has room for it. Nothing may be raised through the library's frames."""
    frame = memoryview(FRAME.pack(kind, len(payload)) + payload)
    try:
        while frame:
            frame = frame[os.write(0, frame) :]
    except OSError:
        os._exit(0)  # the listener has left


def _limit(what: int, value: int) -> None:
    """As far as the system knows the limit and a stricter one is not set yet."""
    with contextlib.suppress(OSError, ValueError):
        hard = resource.getrlimit(what)[1]
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(what, (value, value))


def _prctl(option: int, value: int) -> None:
    if _LIBC is not None:
        _LIBC.prctl(option, ctypes.c_ulong(value), 0, 0, 0)


def _complaint(error: OSError, code: int) -> int:
    print(error, file=sys.stderr)  # noqa: T201
    return code


if __name__ == "__main__":
    main()
