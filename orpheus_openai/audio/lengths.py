"""The length in a finished file's header, which a stream has to leave open and players of files need."""

import os
import struct
from typing import BinaryIO

import av

WAV_HEADER_BYTES = 44
FLAC_TOTAL_OFFSET = 18
"""Where STREAMINFO's 64 bits of sample rate, channels, width and, in the low 36, the number of samples stand: after
`fLaC`, the block's header and ten bytes of block and frame sizes (RFC 9639, section 8.2)."""
FLAC_TOTAL_BITS = 36


def write_lengths(file: BinaryIO, audio_format: str) -> None:
    """Fill in what `audio.encode` left open at the start of `file`, which can be read and sought.

    WAV and FLAC have a length there; of the other formats players find it out.
    """
    if audio_format == "wav":
        end = file.seek(0, os.SEEK_END)
        for offset, length in ((4, end - 8), (40, end - WAV_HEADER_BYTES)):
            file.seek(offset)
            file.write(struct.pack("<I", length))
    elif audio_format == "flac":
        samples = _flac_samples(file)
        file.seek(FLAC_TOTAL_OFFSET)
        (fields,) = struct.unpack(">Q", file.read(8))
        file.seek(FLAC_TOTAL_OFFSET)
        file.write(struct.pack(">Q", fields >> FLAC_TOTAL_BITS << FLAC_TOTAL_BITS | samples))
    file.seek(0, os.SEEK_END)


def _flac_samples(file: BinaryIO) -> int:
    """Each frame tells how many samples it holds; none is decoded for that."""
    file.seek(0)
    with av.open(file, "r", format="flac") as container:
        rate = container.streams.audio[0].rate
        return sum(
            round(packet.duration * packet.time_base * rate)
            for packet in container.demux(audio=0)
            if packet.duration and packet.time_base
        )
