"""The folder of voices: what may stand in it, and that a voice is there whole or not at all."""

import asyncio
import json
import os
import shutil
import signal
import wave
from pathlib import Path

import numpy as np
import pytest

from orpheus_openai.audio import decode
from orpheus_openai.catalog import load_catalog
from orpheus_openai.cli import make_parser
from orpheus_openai.errors import InvalidRequestError
from orpheus_openai.limits.caller import Caller
from orpheus_openai.models.orpheus.prompt import prompt_text
from orpheus_openai.settings import Settings
from orpheus_openai.voices.consents import ConsentFolder
from orpheus_openai.voices.folder import VoiceExistsError, VoiceFolder
from orpheus_openai.voices.form import VoiceError, VoiceFile, described, read_description
from orpheus_openai.voices.keeper import VoiceKeeper
from orpheus_openai.voices.places import STAGING
from orpheus_openai.voices.recordings import Recorder
from orpheus_openai.voices.shelf import VoiceShelf
from tests.support.recordings import sound

CATALOG = load_catalog()


@pytest.fixture
def folder(tmp_path):
    return VoiceFolder(tmp_path / "voices")


def write_recording(path, seconds=5.0, rate=24_000):
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(b"\x01\x00" * round(seconds * rate))


def put(folder, name, text):
    place = folder.root / name
    place.mkdir(parents=True)
    (place / "voice.toml").write_text(text, encoding="utf-8")
    return place


def test_a_named_voice_is_a_name_before_the_text_of_its_model(folder):
    put(folder, "anna", 'name = "Anna"\nkind = "named"\nmodel = "small-1b"\nlanguages = ["de", "en"]')
    (voice,) = folder.read(CATALOG).voices
    assert prompt_text("Hallo.", voice) == "Anna: Hallo."
    catalog = CATALOG.with_voices([voice])
    assert catalog.voice("ANNA") is voice
    assert catalog.answering("tts-1", "preview", voice).id == "small-1b"
    assert catalog.answering("small-1b", "preview", voice).id == "small-1b"
    with pytest.raises(
        InvalidRequestError, match="preview does not know the voice 'Anna'. Models that do: small-1b"
    ):
        catalog.answering("preview", "preview", voice)


def test_the_name_before_the_text_may_be_another_or_none(folder):
    put(folder, "a", 'name = "A"\nkind = "named"\nprefix = "speaker_7"')
    put(folder, "b", 'name = "B"\nkind = "named"\nprefix = ""')
    first, second = folder.read(CATALOG).voices
    assert (prompt_text("Hi.", first), prompt_text("Hi.", second)) == ("speaker_7: Hi.", "Hi.")


def test_an_adapter_and_a_recording_know_what_they_take(folder):
    place = put(folder, "narrator", 'name = "Narrator"\nkind = "adapter"')
    (place / "adapter").mkdir()
    (place / "adapter" / "adapter_model.safetensors").write_bytes(bytes(3_000))
    place = put(
        folder, "me", 'name = "Me"\nkind = "prompt"\nrecording = "me.wav"\ntranscript = "Hello\\nthere."'
    )
    write_recording(place / "me.wav", seconds=10)
    put(folder, "far", 'name = "Far"\nkind = "adapter"\nadapter = "hub:someone/voice"')
    far, me, narrator = folder.read(CATALOG).voices
    assert narrator.memory == 3_000
    assert narrator.adapter.endswith("narrator/adapter")
    assert me.memory == 820 * 112 * 1024
    assert (me.models, me.transcript, me.prefix) == (("medium-3b-pretrained",), "Hello there.", "")
    assert (far.adapter, far.memory) == ("someone/voice", 0)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("name = ", "not valid TOML"),
        ('kind = "named"', "name"),
        ('name = "A"', "kind"),
        ('name = "A"\nkind = "cloned"', "kind"),
        ('name = "A"\nkind = "named"\nvolume = 3', "volume"),
        ('name = "A"\nkind = "named"\nmodel = "large-9b"', "there is no model 'large-9b'"),
        ('name = "A"\nkind = "named"\nmodel = "preview"', "is not an Orpheus model"),
        ('name = "A"\nkind = "named"\nlanguages = ["tlh"]', "there is no language 'tlh'"),
        ('name = "A"\nkind = "named"\nlanguages = []', "languages"),
        ('name = "Tara"\nkind = "named"', "there is a voice 'tara' already"),
        ('name = "alloy"\nkind = "named"', "there is a voice 'alloy' already"),
        ('name = "a/b"\nkind = "named"', "name: letters"),
        ('name = "a: b"\nkind = "named"', "name: letters"),
        ('name = "<laugh>"\nkind = "named"', "name: letters"),
        ('name = "A"\nkind = "named"\nprefix = "<|x"', "prefix: it spells"),
        ('name = "A"\nkind = "named"\ntranscript = "x"', "is for voices of the kind prompt"),
        ('name = "A"\nkind = "adapter"', "there is no adapter beside this file"),
        ('name = "A"\nkind = "adapter"\nadapter = "/etc"', "not a path"),
        ('name = "A"\nkind = "adapter"\nadapter = "../other"', "not a path"),
        ('name = "A"\nkind = "adapter"\nadapter = "link"', "not a path"),
        ('name = "A"\nkind = "adapter"\nadapter = "ok.wav"', "ok.wav is no folder"),
        ('name = "A"\nkind = "prompt"\ntranscript = "x"\nrecording = "pipe"', "pipe is no file"),
        ("x = " + "[" * 30_000, "too much in it beside texts"),
        ("x = " + "{x = " * 300, "not valid TOML"),
        ("x = " + "1" * 60_000, "too much in it beside texts"),
        (".".join("x" * 30_000) + " = 1", "too much in it beside texts"),
        (".".join(['"x"'] * 15_000) + " = 1", "too much in it beside texts"),
        ('"' + '\\"' * 30_000, "not valid TOML"),
        ('name = "' + "x" * 70_000, "larger than 64 KiB"),
        ('name = "A"\nkind = "adapter"\nadapter = "hub:nobody"', "expected hub:owner/name"),
        ('name = "A"\nkind = "adapter"\nadapter = "hub:a/b@main"', "a revision cannot be chosen"),
        ('name = "A"\nkind = "prompt"\nrecording = "x.wav"', "expected what is said"),
        ('name = "A"\nkind = "prompt"\ntranscript = "x"', "expected the name of the recording"),
        (
            'name = "A"\nkind = "prompt"\nrecording = "ok.wav"\ntranscript = "So <|eot_id|> it is."',
            'transcript: it spells "<|eot_id|>", a token of the model',
        ),
        (
            'name = "A"\nkind = "prompt"\nrecording = "ok.wav"\ntranscript = "<custom_token_12>"',
            'transcript: it spells "<custom_token_12>"',
        ),
        ('name = "A"\nkind = "prompt"\ntranscript = "x"\nrecording = "gone.wav"', "there is no gone.wav"),
        ('name = "A"\nkind = "prompt"\ntranscript = "x"\nrecording = "voice.toml"', "is not a WAV file"),
        ('name = "A"\nkind = "prompt"\ntranscript = "x"\nrecording = "other.wav"', "is not of 24000 Hz"),
        (
            'name = "A"\nkind = "prompt"\ntranscript = "x"\nrecording = "short.wav"',
            "it lasts 1.0 s; from 3 to 30 s",
        ),
        (
            'name = "A"\nkind = "prompt"\ntranscript = "x"\nrecording = "long.wav"',
            "it lasts 31.0 s; from 3 to 30 s",
        ),
    ],
)
def test_what_cannot_be_a_voice_is_left_out_and_the_others_go_on(folder, text, why):
    place = put(folder, "bad", text)
    (place / "link").symlink_to("/etc")
    os.mkfifo(place / "pipe")
    write_recording(place / "ok.wav")
    write_recording(place / "short.wav", 1)
    write_recording(place / "other.wav", 5, rate=44_100)
    write_recording(place / "long.wav", 31)
    put(folder, "good", 'name = "Good"\nkind = "named"')
    found = folder.read(CATALOG)
    assert [voice.title for voice in found.voices] == ["Good"]
    assert list(found.problems) == ["bad"]
    assert why in found.problems["bad"]


@pytest.mark.parametrize(
    ("base", "model", "spoken_by"),
    [
        ("canopylabs/orpheus-3b-0.1-ft", "", "medium-3b"),
        ("unsloth/Orpheus-3b-0.1-ft-unsloth-bnb-4bit", "", "medium-3b"),
        ("/home/me/a-model-of-mine", "", "medium-3b"),
        (None, "", "medium-3b"),
        (7, "", "medium-3b"),
        (
            "unsloth/orpheus-3b-0.1-pretrained",
            "",
            "was trained on unsloth/orpheus-3b-0.1-pretrained, which is medium",
        ),
        (
            "canopylabs/3b-fr-ft-research_release",
            "",
            "on the command line --model medium-3b-fr), or medium-3b if",
        ),
        ("unsloth/orpheus-3b-0.1-pretrained", "medium-3b-pretrained", "medium-3b-pretrained"),
        ("unsloth/orpheus-3b-0.1-pretrained", "medium-3b", "medium-3b"),
    ],
)
def test_an_adapter_of_another_base_is_told_of_unless_its_model_is_named(folder, base, model, spoken_by):
    place = put(folder, "n", f'name = "N"\nkind = "adapter"\nmodel = "{model}"')
    (place / "adapter").mkdir()
    (place / "adapter" / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": base}))
    found = folder.read(CATALOG)
    told = found.voices[0].models[0] if found.voices else found.problems["n"]
    assert told == spoken_by if found.voices else spoken_by in told


def test_what_lies_in_the_place_of_a_voice_is_told_of_and_the_others_go_on(folder, monkeypatch):
    put(folder, "good", '\ufeffname = "Good"\r\nkind = "named"\r\n')
    put(folder, "elsewhere", 'name = "E"\nkind = "named"').rename(folder.root.parent / "elsewhere")
    (folder.root / "link").symlink_to(folder.root.parent / "elsewhere")
    (folder.root / "nora.toml").write_text('name = "Nora"\nkind = "named"')
    put(folder, "misnamed", "").joinpath("voice.toml").rename(folder.root / "misnamed" / "Misnamed.toml")
    (folder.root / "piped").mkdir()
    os.mkfifo(folder.root / "piped" / "voice.toml")
    (folder.root / "lost+found").mkdir()
    (folder.root / "README.md").write_text("What is what.")
    found = folder.read(CATALOG)
    assert [voice.title for voice in found.voices] == ["Good"]
    assert found.problems == {
        "link": "it is a symbolic link; the folder itself has to be here",
        "misnamed": "there is no voice.toml in it",
        "nora.toml": "a voice is a folder with voice.toml in it",
        "piped": "it is no file",
    }
    for name in ("link", "nora.toml", "misnamed"):
        assert folder.remove(name)
    assert sorted(os.listdir(folder.root)) == ["README.md", "good", "lost+found", "piped"]  # noqa: PTH208
    assert (folder.root.parent / "elsewhere" / "voice.toml").exists()
    put(folder, "one-too-many", 'name = "X"\nkind = "named"')
    with monkeypatch.context() as few:
        few.setattr("orpheus_openai.voices.folder.MOST_VOICES", 1)
        found = folder.read(CATALOG)
    assert [voice.title for voice in found.voices] == ["Good"]
    assert "there are more than 1 voices" in found.problems.values()
    monkeypatch.setattr(
        Path, "open", lambda *_: (_ for _ in ()).throw(PermissionError(13, "Permission denied"))
    )
    assert folder.read(CATALOG).problems["good"] == "it cannot be read: Permission denied"


def test_a_folder_of_voices_that_is_none_is_told_of_and_read_once_it_is_one(folder):
    folder.root.write_text("")
    shelf = VoiceShelf(folder, CATALOG)
    assert shelf.problems == {".": "the folder of voices cannot be read: Not a directory"}
    folder.root.unlink()
    put(folder, "nora", 'name = "Nora"\nkind = "named"')
    shelf._look()
    assert ([voice.title for voice in shelf.voices], shelf.problems) == (["Nora"], {})


def test_every_change_of_a_voice_is_seen_also_where_its_description_stays(folder):
    place = put(folder, "n", 'name = "N"\nkind = "adapter"')
    shelf = VoiceShelf(folder, CATALOG)

    def seen():
        shelf._look()
        return shelf.problems.get("n") or [(voice.id, voice.title, voice.memory) for voice in shelf.voices]

    assert "there is no adapter beside" in seen()
    (place / "adapter").mkdir()  # copied after its description, as a copy of the whole folder may be
    assert seen() == [("n", "N", 0)]
    (place / "adapter" / "adapter_model.safetensors").write_bytes(bytes(7))
    assert seen() == [("n", "N", 7)]
    (place / "adapter" / "adapter_model.safetensors").write_bytes(bytes(9))
    assert seen() == [("n", "N", 9)]
    config = place / "adapter" / "adapter_config.json"
    config.write_text('{"base_model_name_or_path": "canopylabs/orpheus-3b-0.1-pretrained"}')
    assert "which is medium-3b-pretrained here" in seen()
    config.unlink()
    (place / "voice.toml").write_text('name = "M"\nkind = "adapter"')
    assert seen() == [("n", "M", 9)]
    place.rename(folder.root / "m")
    assert seen() == [("m", "M", 9)]
    (folder.root / "m").rename(folder.root / ".m")
    assert seen() == []


def test_an_adapter_of_a_repository_costs_what_its_files_say_once_they_are_here(folder, tmp_path):
    here = {}
    shelf = VoiceShelf(VoiceFolder(folder.root, here.get), CATALOG)
    put(folder, "far", 'name = "Far"\nkind = "adapter"\nadapter = "hub:someone/voice"')
    (tmp_path / "adapter_model.safetensors").write_bytes(bytes(11))
    costs = []
    for known in ({}, {"someone/voice": tmp_path}):
        here.update(known)
        shelf._look()
        costs.append([voice.memory for voice in shelf.voices])
    assert costs == [[0], [11]]


def test_a_folder_in_capital_letters_is_found_by_its_id_and_removed(folder):
    put(folder, "Nora", 'name = "Nora"\nkind = "named"')
    put(folder, "nora", 'name = "Other"\nkind = "named"')
    found = folder.read(CATALOG)
    assert [(voice.id, voice.place) for voice in found.voices] == [("nora", "Nora")]
    assert found.problems == {"nora": "its folder's name differs from Nora in upper and lower case alone"}
    assert folder.remove(found.voices[0].place)
    assert [voice.title for voice in folder.read(CATALOG).voices] == ["Other"]


def test_two_of_one_name_are_told_apart_only_by_whose_they_are(folder):
    for place, owner in (("a", ""), ("b", ""), ("c", "key:ann"), ("d", "key:bob"), ("e", "key:bob")):
        put(folder, place, f'name = "Nora"\nkind = "named"\nowner = "{owner}"\nprefix = "{place}"')
    found = folder.read(CATALOG)
    assert [voice.prefix for voice in found.voices] == ["a", "c", "d"]
    assert found.problems == {
        "b": "name: 'Nora' is the voice in a",
        "e": "name: 'Nora' is the voice in d",
    }
    shelf = VoiceShelf(folder, CATALOG)
    spoken = {
        account: shelf.catalog(account).voice("nora").prefix for account in ("key:ann", "key:bob", "anyone")
    }
    assert spoken == {"key:ann": "c", "key:bob": "d", "anyone": "a"}


def test_a_description_says_the_same_when_it_is_read_back(tmp_path):
    file = VoiceFile(
        name='Ma"r\\ía\x7f 1',
        kind="prompt",
        languages=("es", "en"),
        prefix="",
        transcript="Zeile 1\nZeile 2\t\u2028ü🎉",
        shared=False,
        created=1795428000,
    )
    (tmp_path / "voice.toml").write_text(described(file), encoding="utf-8")
    assert read_description(tmp_path / "voice.toml") == file


def test_a_voice_is_added_and_removed_and_a_server_sees_it(folder):
    shelf = VoiceShelf(folder, CATALOG)
    file = VoiceFile(name="Nora", kind="named")
    assert folder.add("nora", file, CATALOG).title == "Nora"
    with pytest.raises(VoiceExistsError, match="there is a voice 'Nora' already"):
        folder.add("nora", file, CATALOG)
    shelf._look()
    assert shelf.catalog("anyone").voice("nora").prefix == "Nora"
    assert folder.remove("nora")
    assert not folder.remove("nora")
    shelf._look()
    with pytest.raises(InvalidRequestError, match="There is no voice 'nora'"):
        shelf.catalog("anyone").voice("nora")
    assert list(folder.root.iterdir()) == []


def test_of_two_servers_that_add_one_name_at_the_same_time_one_is_told_so(folder, monkeypatch):
    folder.add("a", VoiceFile(name="Nora", kind="named"), CATALOG)
    monkeypatch.setattr(VoiceFolder, "require", lambda *_: None)  # asked before the other was there
    with pytest.raises(VoiceExistsError, match="'Nora' is the voice in a"):
        folder.add("b", VoiceFile(name="Nora", kind="named"), CATALOG)
    assert os.listdir(folder.root) == ["a"]  # noqa: PTH208


def test_what_cannot_be_added_leaves_nothing_behind(folder):
    with pytest.raises(VoiceError, match="there is no adapter"):
        folder.add("x", VoiceFile(name="X", kind="adapter"), CATALOG)

    def fails(_staging):
        raise OSError(28, "No space left on device")

    with pytest.raises(Exception, match="cannot be written: No space left on device"):
        folder.add("x", VoiceFile(name="X", kind="named"), CATALOG, fails)
    assert list(folder.root.iterdir()) == []


ANN = Caller(key="ann")


async def _sent(_recorder, data, _field, _account):
    """What a process of its own, which writes nothing, decodes of a recording that was sent."""
    return np.frombuffer(data, np.int16)


def _keep(folder, what):
    """Do it as the routes do."""
    keeper = VoiceKeeper(VoiceShelf(folder, CATALOG), CATALOG, Settings(voices=folder.root))
    asyncio.run(what(keeper))


def _add_on_the_command_line(_folder):
    words = ("--recording", "ann.wav", "--transcript", "Hello.", "--consent", "consent.wav")
    options = make_parser().parse_args(["voices", "add", "N", *words])
    options.run(options)


WHAT = {
    "a voice is added": lambda folder: _keep(
        folder,
        lambda keeper: keeper.add_recorded(
            ANN,
            name="N",
            recording=sound(4.0).tobytes(),
            transcript="Hello.",
            consent=ConsentFolder(folder.root).read()[0].id,
        ),
    ),
    "a voice is added on the command line": _add_on_the_command_line,
    "a voice is removed": lambda folder: folder.remove("old"),
    "a consent is given": lambda folder: _keep(
        folder,
        lambda keeper: keeper.add_consent(ANN, name="N", language="en", recording=sound(2.0).tobytes()),
    ),
    "a consent is renamed": lambda folder: ConsentFolder(folder.root).rename(
        ConsentFolder(folder.root).read()[0], "Other"
    ),
    "a consent is withdrawn": lambda folder: ConsentFolder(folder.root).remove(
        ConsentFolder(folder.root).read()[0]
    ),
}
STEPS = {
    os: ("mkdir", "open", "fsync", "rename", "replace", "unlink", "rmdir"),
    Path: ("write_text",),
    wave.Wave_write: ("writeframes",),
}


def _killed_before(step, act, folder):
    """Do it in another process, which is killed before its step of that number; whether it came so far."""
    if (child := os.fork()) == 0:
        left = iter(range(step))

        def dies_in_turn(real):
            def stepping(*given, **named):
                if next(left, None) is None:
                    os.kill(os.getpid(), signal.SIGKILL)
                return real(*given, **named)

            return stepping

        for module, names in STEPS.items():
            for name in names:
                setattr(module, name, dies_in_turn(getattr(module, name)))
        try:
            act(folder)
        finally:
            os._exit(0)
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])


@pytest.mark.parametrize("what", WHAT)
def test_killed_before_any_step_the_lists_have_all_of_it_or_nothing(folder, what, monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda _file: None)  # a step, but what is killed here is no disk
    monkeypatch.setattr(Recorder, "decode", _sent)
    monkeypatch.setenv("ORPHEUS_VOICES", str(folder.root))
    monkeypatch.chdir(folder.root.parent)
    monkeypatch.setattr(decode, "recording", lambda name: sound(4.0 if name == "ann.wav" else 2.0))
    consents = ConsentFolder(folder.root)

    def seen():
        found = folder.read(CATALOG)
        assert found.problems == {}, "those that are there are whole, their recordings included"
        for consent in consents.read():
            with wave.open(str(folder.root / ".consents" / consent.id / "recording.wav")) as kept:
                assert kept.getnframes() == 2 * 24_000
        return [voice.title for voice in found.voices], sorted(each.name for each in consents.read())

    step, outcomes = 0, []
    while True:
        shutil.rmtree(folder.root, ignore_errors=True)
        folder.add("old", VoiceFile(name="Old", kind="named"), CATALOG)
        consents.add("Ann", "en", "key:ann", lambda to: write_recording(to, 2))
        before = seen()
        killed = _killed_before(step, WHAT[what], folder)
        if (now := seen()) not in outcomes[-1:]:
            outcomes.append(now)
        if not killed:
            break
        step += 1
    assert step > 2, "it has steps"
    strokes = 2 if "command line" in what else 1  # the consent, and then the voice
    assert len(outcomes) == 1 + strokes
    assert outcomes[0] == before


def test_what_a_process_that_died_has_left_goes_with_the_next_change(folder):
    add = lambda to: to.add("n", VoiceFile(name="N", kind="named"), CATALOG)  # noqa: E731
    assert _killed_before(2, add, folder)
    (half,) = folder.root.iterdir()
    assert half.name.startswith(STAGING)
    os.utime(half, (0, 0))
    folder.add("last", VoiceFile(name="Last", kind="named"), CATALOG)
    assert [path.name for path in folder.root.iterdir()] == ["last"]
