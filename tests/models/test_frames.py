"""Tokens to frames: whatever happens to a token, the other frames come through, whole and in order."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orpheus_openai.models.orpheus.frames import (
    CODEBOOK_SIZE,
    END_OF_SPEECH,
    FIRST_AUDIO_TOKEN,
    LAST_AUDIO_TOKEN,
    REALTIME_TOKENS_PER_SECOND,
    TOKENS_PER_FRAME,
    FrameAssembler,
)

codes = st.integers(0, CODEBOOK_SIZE - 1)
frame_lists = st.lists(st.tuples(*[codes] * TOKENS_PER_FRAME), max_size=20)


def tokens(frame: tuple[int, ...]) -> list[int]:
    return [FIRST_AUDIO_TOKEN + code + CODEBOOK_SIZE * slot for slot, code in enumerate(frame)]


def assemble(
    token_ids: list[int], cuts: list[int] | None = None
) -> tuple[list[tuple[int, ...]], FrameAssembler]:
    assembler = FrameAssembler()
    edges = [0, *sorted(min(cut, len(token_ids)) for cut in cuts or []), len(token_ids)]
    rows = [assembler.push(token_ids[a:b]) for a, b in pairwise(edges)]
    return [tuple(row) for row in np.concatenate(rows).tolist()], assembler


def test_the_constants_are_the_published_ones() -> None:
    assert LAST_AUDIO_TOKEN == 128266 + 7 * 4096 - 1
    assert pytest.approx(82.03, abs=0.01) == REALTIME_TOKENS_PER_SECOND


@given(frame_lists, st.lists(st.integers(0, 150), max_size=10))
def test_frames_survive_any_cut_of_the_token_stream(frames: list[tuple[int, ...]], cuts: list[int]) -> None:
    out, assembler = assemble([t for frame in frames for t in tokens(frame)], cuts)
    assert out == frames
    assert (assembler.dropped, assembler.stray) == (0, 0)


Damaged = tuple[tuple[int, ...], tuple[str, int, int] | None]
CORRUPTIONS = st.sampled_from(["missing", "repeated", "replaced", "inserted", "text"])


def corrupt(frame_tokens: list[int], kind: str, place: int, other: int) -> list[int]:
    before, here, after = frame_tokens[:place], frame_tokens[place : place + 1], frame_tokens[place + 1 :]
    return (
        before
        + {"missing": [], "repeated": here * 2}.get(kind, [other] if kind == "replaced" else [other, *here])
        + after
    )


@given(
    st.lists(
        st.tuples(
            st.tuples(*[codes] * TOKENS_PER_FRAME),
            st.none()
            | st.tuples(CORRUPTIONS, st.integers(0, 6), st.integers(FIRST_AUDIO_TOKEN, LAST_AUDIO_TOKEN)),
        ),
        max_size=20,
    ),
    st.lists(st.integers(0, 150), max_size=5),
)
def test_every_uncorrupted_frame_survives_in_order(damage: list[Damaged], cuts: list[int]) -> None:
    stream: list[int] = []
    for frame, corruption in damage:
        stream += corrupt(tokens(frame), *corruption) if corruption else tokens(frame)
    out, _ = assemble(stream, cuts)
    remaining = iter(out)
    for frame, corruption in damage:
        if corruption is None:
            assert frame in remaining, "an untouched frame is missing or out of order"
    assert len(out) <= len(damage) + sum(corruption is not None for _, corruption in damage)


@pytest.mark.parametrize("place", range(TOKENS_PER_FRAME))
def test_a_missing_token_costs_its_own_frame_and_is_counted(place: int) -> None:
    first, second, third = [(n,) * TOKENS_PER_FRAME for n in (1, 2, 3)]
    damaged = tokens(second)
    del damaged[place]
    out, assembler = assemble(tokens(first) + damaged + tokens(third))
    assert out == [first, third]
    # What stood before the gap is dropped with its frame; what comes after it belongs to none.
    assert (assembler.dropped, assembler.stray) == (place > 0, TOKENS_PER_FRAME - 1 - place)


@given(
    frame_lists, st.lists(st.tuples(st.integers(0, 140), st.integers(0, FIRST_AUDIO_TOKEN - 1)), max_size=8)
)
def test_text_tokens_are_skipped_and_counted(
    frames: list[tuple[int, ...]], text: list[tuple[int, int]]
) -> None:
    stream = [t for frame in frames for t in tokens(frame)]
    text = [(place, token) for place, token in text if token != END_OF_SPEECH]
    for place, token in text:
        stream.insert(place, token)
    out, assembler = assemble(stream)
    assert out == frames
    assert (assembler.dropped, assembler.stray) == (0, len(text))


def test_the_end_token_ends_the_stream_and_what_follows_is_ignored() -> None:
    frame = (7,) * TOKENS_PER_FRAME
    out, assembler = assemble([*tokens(frame), END_OF_SPEECH, *tokens(frame)])
    assert out == [frame]
    assert assembler.ended
    assert assembler.push(tokens(frame)).shape == (0, TOKENS_PER_FRAME)


def test_a_frame_cut_off_by_the_end_is_counted_as_dropped() -> None:
    out, assembler = assemble([*tokens((1,) * 7)[:5], END_OF_SPEECH])
    assert out == []
    assert assembler.dropped == 1


def test_an_id_above_the_last_codebook_is_no_audio() -> None:
    out, assembler = assemble([LAST_AUDIO_TOKEN + 1])
    assert (out, assembler.stray) == ([], 1)


def test_frames_are_int16_rows_of_seven_even_when_there_are_none() -> None:
    assembler = FrameAssembler()
    for part in ([], tokens((4095,) * 7)):
        frames = assembler.push(part)
        assert frames.dtype == np.int16
        assert frames.shape[1:] == (TOKENS_PER_FRAME,)
