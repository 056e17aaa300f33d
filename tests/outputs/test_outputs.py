"""The output folder: names that tell and confine, files that are whole or absent, and only so many."""

import asyncio
import os
import re
import time
import wave
from datetime import datetime
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orpheus_openai.audio.encode import make_encoder
from orpheus_openai.errors import NotFoundError
from orpheus_openai.outputs import OutputError, OutputFolder
from orpheus_openai.outputs.names import LONGEST_NAME


async def chunks(*pieces):
    for piece in pieces:
        await asyncio.sleep(0)
        yield piece


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def put(folder, name, content=b"x", *, age_hours=0.0):
    path = folder / name
    path.write_bytes(content)
    when = time.time() - age_hours * 3600
    os.utime(path, (when, when))
    return path


async def save(outputs, *, voice="tara", text="Hello there", audio_format="mp3", content=b"sound"):
    return await outputs.save(chunks(content), voice=voice, text=text, audio_format=audio_format)


async def test_a_name_says_when_who_and_what(tmp_path):
    saved = await save(
        OutputFolder(tmp_path / "new" / "folder"), text="<sigh> Hello, there: it's ME! <laugh>"
    )
    today = datetime.now().astimezone().date().isoformat()
    assert re.fullmatch(rf"{today}-tara-hello-there-it-s-me-[0-9a-f]{{6}}\.mp3", saved.name)
    assert (tmp_path / "new" / "folder" / saved.name).read_bytes() == b"sound"
    assert (saved.bytes, saved.format) == (5, "mp3")


@pytest.mark.parametrize(
    ("voice", "text", "part"),
    [
        ("长乐", "你好！很高兴。", "-长乐-你好-很高兴-"),
        ("ऋतिका", "नमस्ते दुनिया", "-ऋतिका-नमस्ते-दुनिया-"),
        ("tara", "one two three four five six seven eight nine ten", "-tara-one-two-three-four-five-six-"),
        ("../..", "../../etc/passwd\x00\n", "-etc-passwd-"),
    ],
)
async def test_a_name_keeps_the_letters_of_any_script_and_nothing_else(tmp_path, voice, text, part):
    saved = await save(OutputFolder(tmp_path), voice=voice, text=text)
    assert part in saved.name
    assert names(tmp_path) == [saved.name]


@given(voice=st.text(max_size=60), text=st.text(max_size=400))
async def test_whatever_is_said_the_file_can_be_found_again(tmp_path_factory, voice, text):
    folder = tmp_path_factory.getbasetemp() / "any"
    outputs = OutputFolder(folder)
    saved = await save(outputs, voice=voice, text=text)
    assert len(os.fsencode(f".{saved.name}.partial")) <= LONGEST_NAME
    file, found = outputs.open(saved.name)
    with file:
        assert file.read() == b"sound"
    assert found == saved
    outputs.delete(saved.name)


async def test_a_wav_file_knows_its_length(tmp_path):
    encoder = make_encoder("wav")
    pcm = np.arange(1200, dtype=np.int16)
    outputs = OutputFolder(tmp_path)
    stream = chunks(encoder.encode(pcm[:500]), encoder.encode(pcm[500:]), encoder.flush())
    saved = await outputs.save(stream, voice="tara", text="hi", audio_format="wav")
    with wave.open(str(tmp_path / saved.name)) as file:
        assert file.getnframes() == 1200
        assert file.readframes(1200) == pcm.tobytes()


async def test_a_flac_file_knows_its_length(tmp_path):
    encoder = make_encoder("flac")
    pcm = np.arange(5000, dtype=np.int16)
    stream = chunks(encoder.encode(pcm[:500]), encoder.encode(pcm[500:]), encoder.flush())
    saved = await OutputFolder(tmp_path).save(stream, voice="tara", text="hi", audio_format="flac")
    with av.open(str(tmp_path / saved.name)) as file:
        assert file.duration == round(5000 / 24_000 * av.time_base)
        assert sum(frame.samples for frame in file.decode(audio=0)) == 5000


async def test_a_file_appears_only_when_it_is_whole(tmp_path):
    outputs = OutputFolder(tmp_path)
    seen = []

    async def watched():
        for piece in (b"a", b"b"):
            yield piece
            seen.append([file.name for file in outputs.list_files()])

    await outputs.save(watched(), voice="tara", text="hi", audio_format="pcm")
    assert seen == [[], []]
    assert len(outputs.list_files()) == 1


async def test_a_stream_that_fails_leaves_nothing_behind(tmp_path):
    async def failing():
        yield b"half"
        raise RuntimeError("engine")

    with pytest.raises(RuntimeError, match="engine"):
        await OutputFolder(tmp_path).save(failing(), voice="tara", text="hi", audio_format="mp3")
    assert names(tmp_path) == []


async def test_a_listener_who_leaves_leaves_nothing_behind(tmp_path):
    begun = asyncio.Event()

    async def endless():
        yield b"half"
        begun.set()
        await asyncio.sleep(60)

    outputs = OutputFolder(tmp_path)
    task = asyncio.create_task(outputs.save(endless(), voice="tara", text="hi", audio_format="mp3"))
    await begun.wait()
    assert names(tmp_path)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert names(tmp_path) == []


async def test_whenever_a_listener_leaves_there_is_a_whole_file_or_none(tmp_path):
    outputs = OutputFolder(tmp_path)
    for delay in range(40):
        pieces = chunks(*[b"x" * 100] * 5)
        task = asyncio.create_task(outputs.save(pieces, voice="tara", text="hi", audio_format="mp3"))
        await asyncio.sleep(delay * 0.0001)
        task.cancel()
        await asyncio.wait([task])
    assert all(not name.startswith(".") for name in names(tmp_path))
    assert all(file.bytes == 500 for file in outputs.list_files())


@pytest.mark.parametrize(
    "name",
    [
        *(
            "../secret.wav",
            "..",
            ".",
            "",
            "a/b.wav",
            "/etc/passwd",
            "a\\b.wav",
            ".hidden.wav",
            ".a.wav.partial",
        ),
        *(
            "a\x00.wav",
            "a\n.wav",
            "notes.txt",
            "missing.wav",
            "WAV",
            ".wav",
            "x" * 300 + ".wav",
            "\udcff.wav",
        ),
        *("folder.wav", "link.wav", "pipe.wav"),
    ],
)
def test_nothing_but_finished_files_of_the_folder_is_reached(tmp_path, name):
    folder = tmp_path / "outputs"
    folder.mkdir()
    secret = put(tmp_path, "secret.wav")
    put(folder, ".hidden.wav")
    put(folder, ".a.wav.partial")
    put(folder, "notes.txt")
    (folder / "folder.wav").mkdir()
    (folder / "link.wav").symlink_to(secret)
    os.mkfifo(folder / "pipe.wav")
    outputs = OutputFolder(folder)
    with pytest.raises(NotFoundError) as caught:
        outputs.open(name)
    assert caught.value.code == "file_not_found"
    with pytest.raises(NotFoundError):
        outputs.delete(name)
    assert outputs.list_files() == []
    assert secret.exists()


def test_a_name_that_no_json_can_hold_does_not_break_the_listing(tmp_path):
    put(tmp_path, "a.wav")
    put(tmp_path, os.fsdecode(b"caf\xe9.wav"))
    outputs = OutputFolder(tmp_path, max_age_hours=1)
    assert [file.name for file in outputs.list_files()] == ["a.wav"]
    for name in (os.fsdecode(b"caf\xe9.wav"), "\ud800.wav"):
        with pytest.raises(NotFoundError):
            outputs.open(name)
    assert outputs.prune() == []


def test_files_that_vanish_while_they_are_listed_are_left_out(tmp_path, monkeypatch):
    put(tmp_path, "a.wav")
    listed = os.listdir
    monkeypatch.setattr(os, "listdir", lambda folder: [*listed(folder), "gone.wav"])
    assert [file.name for file in OutputFolder(tmp_path).list_files()] == ["a.wav"]


def test_what_becomes_a_link_before_it_is_opened_is_not_followed(tmp_path, monkeypatch):
    secret = put(tmp_path, "secret.txt")
    outputs = OutputFolder(tmp_path)
    put(tmp_path, "a.wav")
    find = outputs._find

    def exchange(name):
        found = find(name)
        (tmp_path / name).unlink()
        (tmp_path / name).symlink_to(secret)
        return found

    monkeypatch.setattr(outputs, "_find", exchange)
    with pytest.raises(NotFoundError):
        outputs.open("a.wav")


def test_what_cannot_be_removed_does_not_keep_the_rest(tmp_path, monkeypatch, caplog):
    put(tmp_path, "stuck.wav", age_hours=3)
    put(tmp_path, "old.wav", age_hours=2)
    (tmp_path / ".folder.partial").mkdir()
    os.utime(tmp_path / ".folder.partial", (0, 0))
    unlink = Path.unlink

    def stubborn(path, **options):
        if path.name == "stuck.wav":
            raise PermissionError(1, "Operation not permitted")
        unlink(path, **options)

    monkeypatch.setattr(Path, "unlink", stubborn)
    assert OutputFolder(tmp_path, max_age_hours=1).prune() == ["old.wav"]
    assert "stuck.wav cannot be removed" in caplog.text


def test_the_newest_file_is_listed_first(tmp_path):
    for hours, name in ((2, "b.mp3"), (3, "c.mp3"), (1, "a.mp3")):
        put(tmp_path, name, age_hours=hours)
    assert [file.name for file in OutputFolder(tmp_path).list_files()] == ["a.mp3", "b.mp3", "c.mp3"]


def test_a_folder_that_is_not_there_yet_is_empty(tmp_path):
    outputs = OutputFolder(tmp_path / "none")
    assert outputs.list_files() == []
    assert outputs.prune() == []
    assert not (tmp_path / "none").exists()


async def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError, match="ORPHEUS_OUTPUT_DIR") as caught:
        await save(OutputFolder(tmp_path / "file" / "outputs"))
    assert str(tmp_path / "file" / "outputs") in caught.value.message


def test_what_is_too_old_goes(tmp_path):
    for hours in (1, 5, 30):
        put(tmp_path, f"{hours}.mp3", age_hours=hours)
    put(tmp_path, "notes.txt", age_hours=100)
    assert OutputFolder(tmp_path, max_age_hours=4).prune() == ["30.mp3", "5.mp3"]
    assert names(tmp_path) == ["1.mp3", "notes.txt"]


async def test_what_is_too_much_goes_oldest_first_after_each_save(tmp_path):
    for hours in (1, 2, 3):
        put(tmp_path, f"{hours}.mp3", b"x" * 40, age_hours=hours)
    saved = await save(OutputFolder(tmp_path, max_bytes=100), content=b"y" * 50)
    assert names(tmp_path) == sorted(["1.mp3", saved.name])


async def test_what_was_just_saved_stays_even_when_it_alone_is_too_much(tmp_path):
    saved = await save(OutputFolder(tmp_path, max_bytes=10), content=b"y" * 50)
    assert names(tmp_path) == [saved.name]


def test_without_limits_everything_stays(tmp_path):
    put(tmp_path, "a.mp3", age_hours=100_000)
    assert OutputFolder(tmp_path).prune() == []
    assert names(tmp_path) == ["a.mp3"]


def test_what_a_crash_left_half_written_goes_but_what_is_being_written_stays(tmp_path):
    put(tmp_path, ".old.mp3.partial", age_hours=30)
    put(tmp_path, ".new.mp3.partial", age_hours=0.1)
    OutputFolder(tmp_path).prune()
    assert names(tmp_path) == [".new.mp3.partial"]


async def test_captions_are_for_whom_their_speech_is_and_go_with_it(tmp_path):
    outputs = OutputFolder(tmp_path, max_bytes=1)
    owned = await outputs.save(chunks(b"mine"), voice="tara", text="Mine", audio_format="mp3", owner="alice")
    found = await outputs.save_captions(owned.name, {"srt": "1\n", "json": "{}"})
    assert found == {each: owned.name.replace(".mp3", f".{each}") for each in ("srt", "json")}
    file, described = outputs.open(found["json"], lambda owner: owner == "alice")
    with file:
        assert (file.read(), described.media_type) == (b"{}", "application/json")
    with pytest.raises(NotFoundError):
        outputs.open(found["srt"], lambda owner: owner is None)
    assert [each.name for each in outputs.list_files(lambda _: True)] == [owned.name]
    put(tmp_path, owned.name, age_hours=1)
    newer = await save(outputs)
    assert names(tmp_path) == [newer.name], "the older speech was too much, and took its captions along"


def test_other_files_that_look_like_captions_are_nobodys_to_see(tmp_path):
    put(tmp_path, "secrets.json")
    outputs = OutputFolder(tmp_path)
    for forbidden in ("secrets.json", "none.srt", ".hidden.srt"):
        with pytest.raises(NotFoundError):
            outputs.open(forbidden, lambda _: True)
        with pytest.raises(NotFoundError):
            outputs.delete(forbidden, lambda _: True)
    assert names(tmp_path) == ["secrets.json"]
