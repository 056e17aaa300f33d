"""OpenAI's routes for voices of one's own: with the official SDK, and with recordings that are none."""

import asyncio
import json
import shutil
import subprocess
import sys
import time
import wave

import httpx
import numpy as np
import openai
import psutil
import pytest
from fastmcp import Client
from fastmcp.client.transports import StreamableHttpTransport

from orpheus_openai.app import create_app
from orpheus_openai.audio.encode import make_encoder
from orpheus_openai.errors import InvalidRequestError, OverloadedError
from orpheus_openai.http.form import LONGEST_FIELD, MAX_FIELDS
from orpheus_openai.settings import Settings
from orpheus_openai.voices import recordings, shelf
from orpheus_openai.voices.consents import ConsentFolder
from orpheus_openai.voices.recordings import Recorder, judge, trimmed
from tests.support.in_process import asking
from tests.support.local_server import running
from tests.support.recordings import RATE, SAID, sound, wav

NAME = b'--x\r\nContent-Disposition: form-data; name="name"\r\n\r\nMe\r\n--x--\r\n'


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("custom")


@pytest.fixture(scope="module")
def url(folder):
    settings = Settings(
        model="preview",
        api_keys=("ann:one", "bob:two", "root:three:admin"),
        voices=folder / "voices",
        output_dir=folder / "outputs",
        audit_log=str(folder / "audit.jsonl"),
        max_voices_per_key=2,
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shelf, "LOOK_SECONDS", 0.05)
        with running(create_app(settings)) as address:
            yield address


@pytest.fixture
def sdk(url):
    with openai.OpenAI(base_url=f"{url}/v1", api_key="one", max_retries=0) as client:
        yield client


@pytest.fixture
def others(url):
    with openai.OpenAI(base_url=f"{url}/v1", api_key="two", max_retries=0) as client:
        yield client


async def in_mcps_list(sdk):
    transport = StreamableHttpTransport(
        f"{str(sdk.base_url).removesuffix('/v1/')}/mcp", headers={"authorization": f"Bearer {sdk.api_key}"}
    )
    async with Client(transport) as client:
        return (await client.call_tool("list_voices", {})).structured_content["voices"]


def test_a_voice_is_made_listed_spoken_with_and_removed_with_the_official_sdk(sdk, others, folder):
    consent = sdk.audio.voice_consents.create(
        name="Ann Smith", language="en-US", recording=("consent.wav", wav(sound()), "audio/wav")
    )
    assert (consent.object, consent.name, consent.language) == ("audio.voice_consent", "Ann Smith", "en-US")
    voice = sdk.audio.voices.create(
        name="My voice",
        consent=consent.id,
        audio_sample=("me.wav", wav(sound(8.0)), "audio/wav"),
        extra_body={"ref_text": SAID},
    )
    assert (voice.object, voice.name, voice.type) == ("audio.voice", "My voice", "audio_sample")
    place = folder / "voices" / voice.id
    with wave.open(str(place / "recording.wav")) as kept:
        assert (kept.getframerate(), kept.getnchannels(), kept.getsampwidth()) == (RATE, 1, 2)
        assert kept.getnframes() == pytest.approx(8 * RATE, abs=0.3 * RATE)
    listed = sdk.get("/audio/voices", cast_to=httpx.Response).json()["voices"]
    (mine,) = [each for each in listed if each["id"] == voice.id]
    assert (mine["name"], mine["kind"], mine["language"]) == ("My voice", "prompt", "en")
    assert mine["model"] == "medium-3b-pretrained"
    assert mine["memory_mib"] == pytest.approx(8 * 82 * 112 / 1024, abs=2), "keys and values of 8 s"
    for key, seen in (("two", False), ("three", True)):
        listed = others.with_options(api_key=key).get("/audio/voices", cast_to=httpx.Response).text
        assert (voice.id in listed) is seen
    (to_agents,) = [each for each in asyncio.run(in_mcps_list(sdk)) if each["name"] == "My voice"]
    shown = ("id", "kind", "languages", "model", "memory_mib")
    assert [to_agents[each] for each in shown] == [mine[each] for each in shown]
    assert voice.id not in [each["id"] for each in asyncio.run(in_mcps_list(others))]
    with pytest.raises(openai.NotFoundError, match="medium-3b-pretrained cannot speak here"):
        sdk.audio.speech.create(model="gpt-4o-mini-tts", voice={"id": voice.id}, input="Hello.")
    with pytest.raises(openai.BadRequestError, match="There is no voice"):
        others.audio.speech.create(model="gpt-4o-mini-tts", voice={"id": voice.id}, input="Hello.")
    with pytest.raises(openai.NotFoundError, match="There is no voice"):
        others.audio.voices.delete(voice.id)
    gone = sdk.audio.voices.delete(voice.id)
    assert (gone.id, gone.deleted, gone.object) == (voice.id, True, "audio.voice.deleted")
    assert not place.exists()
    sdk.audio.voice_consents.delete(consent.id)
    lines = [json.loads(line) for line in (folder / "audit.jsonl").read_text().splitlines()]
    told = [(line["method"], line["status"], line["key"]) for line in lines if line.get("voice") == voice.id]
    assert told == [("POST", 200, "ann"), ("DELETE", 200, "ann")]


def test_a_voice_that_is_laid_into_the_folder_is_there_without_a_restart_and_gone_with_it(sdk, folder):
    def listed(wanted):
        for _ in range(600):
            if ('"Laid"' in sdk.get("/audio/voices", cast_to=httpx.Response).text) is wanted:
                return True
            time.sleep(0.05)
        return False

    place = folder / "voices" / "laid"
    place.mkdir(parents=True)
    (place / "voice.toml").write_text('name = "Laid"\nkind = "named"\n')
    assert listed(True)
    shutil.rmtree(place)
    assert listed(False)


def test_consents_are_listed_by_a_cursor_renamed_and_ones_own(sdk, others):
    made = [
        sdk.audio.voice_consents.create(name=name, language="de-DE", recording=("c.wav", wav(sound())))
        for name in ("one", "two")
    ]
    with pytest.raises(openai.BadRequestError, match="There are 2 consents of yours"):
        sdk.audio.voice_consents.create(name="three", language="de", recording=("c.wav", wav(sound())))
    assert {each.id for each in sdk.audio.voice_consents.list(limit=1)} == {each.id for each in made}
    first = sdk.audio.voice_consents.list(limit=1)
    assert (len(first.data), first.has_more) == (1, True)
    assert sdk.audio.voice_consents.update(made[0].id, name="other").name == "other"
    assert sdk.audio.voice_consents.retrieve(made[0].id).name == "other"
    assert list(others.audio.voice_consents.list()) == []
    for asked in (others.audio.voice_consents.retrieve, others.audio.voice_consents.delete):
        with pytest.raises(openai.NotFoundError, match="There is no voice consent"):
            asked(made[0].id)
    admin = others.with_options(api_key="three")
    assert {each.id for each in admin.audio.voice_consents.list()} == {each.id for each in made}
    assert admin.audio.voice_consents.retrieve(made[0].id).name == "other"
    gone = [sdk.audio.voice_consents.delete(each.id) for each in sdk.audio.voice_consents.list(limit=1)]
    assert {each.id for each in gone} == {each.id for each in made}, (
        "page after page, each after one that is gone"
    )
    assert {(each.object, each.deleted) for each in gone} == {("audio.voice_consent", True)}
    assert list(sdk.audio.voice_consents.list()) == []


@pytest.fixture(scope="module")
def open_app(tmp_path_factory):
    """Without keys, on a private machine."""
    folder = tmp_path_factory.mktemp("private")
    return create_app(
        Settings(
            model="preview",
            voices=folder / "voices",
            output_dir=folder / "outputs",
            voice_consent="off",
            max_voices_per_key=100,
        )
    ), folder / "voices"


async def create(app, sample=None, **fields):
    form = {"name": "Me", "ref_text": SAID, **fields}
    files = {"audio_sample": ("x", wav(sound()) if sample is None else sample)}
    async with asking(app) as client:
        return await client.post(
            "/v1/audio/voices", data={k: v for k, v in form.items() if v is not None}, files=files
        )


def left(folder):
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def encoded(pcm, form):
    encoder = make_encoder(form)
    return b"".join([encoder.encode(pcm), encoder.flush()])


def part(name, content, head=""):
    told = f'--x\r\nContent-Disposition: form-data; name="{name}"{head}\r\n\r\n'
    return told.encode() + content + b"\r\n"


FILE = '; filename="a.wav"'
FORM = {"content-type": "multipart/form-data; boundary=x"}


NOT_AUDIO = {
    "nothing": b"",
    "one sample a second": wav(sound(), rate=1),
    "a page": b"<html><body>Hello</body></html>" * 20,
    "a playlist": b"#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\nfile:///etc/passwd\n",
    "a list of files": b"ffconcat version 1.0\nfile /etc/passwd\n",
    "only a header": wav(sound())[:44],
    "a header that lies": wav(sound())[:44].replace(b"data", b"datz") + b"\xff" * 5_000,
}
UNFIT = {
    "too short": (wav(sound(1.0)), "it lasts 1.0 s without the silence at its ends; at least 3 s are needed"),
    "too long": (wav(sound(40.0)), "it is longer than 30 s"),
    "silent": (wav(np.zeros(5 * RATE, np.int16)), "there is next to nothing to be heard"),
    "short between silences": (
        wav(np.concatenate([np.zeros(5 * RATE, np.int16), sound(1.0), np.zeros(5 * RATE, np.int16)])),
        "without the silence at its ends",
    ),
    "clipped": (
        wav(np.clip(sound(5.0).astype(np.int32) * 20, -32_768, 32_767).astype(np.int16)),
        "it is clipped",
    ),
}


@pytest.mark.parametrize("kind", NOT_AUDIO)
async def test_what_is_no_recording_is_refused_and_leaves_nothing(open_app, kind):
    app, folder = open_app
    before = left(folder)
    answer = await create(app, NOT_AUDIO[kind])
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "audio_sample")
    assert "not a recording that can be read" in answer.json()["error"]["message"]
    assert left(folder) == before


@pytest.mark.parametrize("kind", UNFIT)
async def test_a_recording_that_cannot_be_used_is_told_why_and_leaves_nothing(open_app, kind):
    app, folder = open_app
    before = left(folder)
    sample, why = UNFIT[kind]
    answer = await create(app, sample)
    assert answer.status_code == 400
    assert why in answer.json()["error"]["message"]
    assert left(folder) == before


@pytest.mark.parametrize(
    ("fields", "param", "why"),
    [
        ({"name": None}, "name", "Missing required field 'name'"),
        ({"name": " "}, "name", "1 to 100 characters"),
        ({"name": "x" * 10_000}, "name", "1 to 100 characters"),
        ({"name": "a\nb"}, "name", "all of which can be printed"),
        ({"name": "alloy"}, "name", "there is a voice 'alloy' already"),
        ({"name": "../x"}, "name", "letters, digits"),
        ({"ref_text": None}, "ref_text", "what is said in the recording"),
        ({"ref_text": "  "}, "ref_text", "what is said in the recording"),
        ({"ref_text": "word " * 1_200}, "ref_text", "at most this many characters: 5000"),
        ({"ref_text": "x" * 70_000}, None, "'ref_text' is longer than 64 KiB"),
        ({"ref_text": "So <|eot_id|> it is."}, "ref_text", "a token of the model's own"),
        ({"name": "voice_0123"}, "name", "would pass for the id of another voice"),
        ({"language": "tlh"}, "language", "There is no language 'tlh'"),
        ({"language": "en-\x1b[2J"}, "language", "is no language's tag"),
        ({"type": "prompt", "prompt": "A warm voice"}, "type", "not of descriptions"),
        ({"consent": "cons_gone"}, "consent", "There is no voice consent 'cons_gone'"),
    ],
)
async def test_a_form_that_is_wrong_names_its_field(open_app, fields, param, why):
    app, folder = open_app
    before = left(folder)
    answer = await create(app, **fields)
    error = answer.json()["error"]
    assert answer.status_code in ((404,) if param == "consent" else (400,))
    assert error["param"] == param
    assert why in error["message"]
    assert left(folder) == before


@pytest.mark.parametrize(
    ("form", "name", "kind"),
    [
        ("mp3", "../../etc/passwd", "audio/wav"),
        ("flac", "", "image/png"),
        ("opus", "a\0b.mp3", "text/plain; charset=utf-16"),
        ("aac", 'a\\"b.wav', "////;"),
    ],
)
async def test_recordings_come_in_usual_formats_whatever_they_are_called(open_app, form, name, kind):
    app, folder = open_app
    fields = {"name": f"From {form}", "ref_text": SAID, "language": "fr"}
    head = f'; filename="{name}"\r\nContent-Type: {kind}'
    parts = [part(field, text.encode()) for field, text in fields.items()]
    body = b"".join([*parts, part("audio_sample", encoded(sound(6.0), form), head), b"--x--\r\n"])
    async with asking(app) as client:
        answer = await client.post("/v1/audio/voices", content=body, headers=FORM)
    assert answer.status_code == 200, answer.text
    place = folder / answer.json()["id"]
    assert left(place) == ["recording.wav", "voice.toml"]
    with wave.open(str(place / "recording.wav")) as kept:
        assert kept.getnframes() == pytest.approx(6 * RATE, abs=0.3 * RATE)


def test_a_voltage_that_stands_still_is_silence_and_hides_none():
    still = np.full(2 * RATE, 12_000, np.int16)
    with pytest.raises(InvalidRequestError, match="next to nothing to be heard"):
        judge(np.concatenate([still, still]), "audio_sample")
    assert len(trimmed(np.concatenate([still, 12_000 + sound(4.0), still]))) == pytest.approx(
        4 * RATE, abs=0.3 * RATE
    )


async def test_two_voices_of_one_caller_have_two_names(open_app):
    app, _ = open_app
    assert (await create(app, name="Twice")).status_code == 200
    again = await create(app, name="TWICE")
    assert (again.status_code, again.json()["error"]["param"]) == (400, "name")


async def test_who_may_have_no_more_is_told_so_before_a_recording_is_read(tmp_path, caplog):
    app = create_app(
        Settings(
            model="preview",
            voices=tmp_path / "voices",
            output_dir=tmp_path,
            voice_consent="off",
            max_voices_per_key=0,
        )
    )
    answers = [await create(app, NOT_AUDIO["a page"]) for _ in range(2)]
    assert caplog.text.count("ORPHEUS_VOICE_CONSENT=off: voices are made of recordings without") == 1
    async with asking(app) as client:
        answers.append(
            await client.post(
                "/v1/audio/voice_consents",
                data={"name": "Me", "language": "en"},
                files={"recording": ("x", NOT_AUDIO["a page"])},
            )
        )
    assert [answer.json()["error"]["code"] for answer in answers] == ["quota_exceeded"] * 3
    assert left(tmp_path / "voices") == []


async def test_a_body_that_is_no_form_or_too_large_is_refused(open_app):
    app, _ = open_app
    async with asking(app) as client:
        answer = await client.post("/v1/audio/voices", json={"name": "x"})
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_form")
        answer = await client.post(
            "/v1/audio/voices",
            content=b"--x\r\nrubbish",
            headers={"content-type": "multipart/form-data; boundary=x"},
        )
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_form")
        odd = NAME.replace(b"\r\n\r\n", b"\r\nContent-Type: text/plain; charset=nonsense\r\n\r\n")
        answer = await client.post(
            "/v1/audio/voices", content=odd, headers={"content-type": "multipart/form-data; boundary=x"}
        )
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_form")
        answer = await create(app, **{f"field{number}": "x" for number in range(MAX_FIELDS)})
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_form")
        answer = await create(app, name="x" * (LONGEST_FIELD + 1))
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_form")
        answer = await create(app, bytes(11 * 1024 * 1024))
        assert (answer.status_code, answer.json()["error"]["code"]) == (413, "request_too_large")


@pytest.mark.parametrize(
    ("parts", "why"),
    [
        ([part("name", b"a"), part("name", b"b")], "The field 'name' is there twice"),
        (
            [part("name", b"a"), *[part("audio_sample", b"a", FILE)] * 2],
            "The field 'audio_sample' is there twice",
        ),
        ([part("name", b"\xff")], "can't decode byte 0xff"),
        (
            [part("audio_sample", b"", f'; filename="{"x" * 10_000}"')],
            "Maximum segment header length exceeded",
        ),
        ([part("name", b"a", FILE)], "Missing required field 'name'"),
        ([part("name", b"a"), part("audio_sample", b"a")], "Missing required field 'audio_sample'"),
    ],
)
async def test_a_form_that_says_two_things_or_nothing_is_refused_in_words(open_app, parts, why):
    app, _ = open_app
    async with asking(app) as client:
        answer = await client.post("/v1/audio/voices", content=b"".join([*parts, b"--x--\r\n"]), headers=FORM)
    assert answer.status_code == 400
    assert why in answer.json()["error"]["message"]


async def test_a_list_of_consents_goes_on_after_one_that_is_gone_and_says_what_is_no_place_in_it(open_app):
    app, folder = open_app
    kept = ConsentFolder(folder)
    made = [kept.add(str(n), "en", "", lambda to: to.write_bytes(b"")) for n in range(5)]
    ids = [consent.id for consent in kept.read()]
    assert set(ids) == {consent.id for consent in made}
    kept.remove(next(each for each in made if each.id == ids[1]))
    async with asking(app) as client:

        async def listed(**query):
            return (await client.get("/v1/audio/voice_consents", params=query)).json()

        page = await listed(limit=2, after=ids[1])
        assert [each["id"] for each in page["data"]] == ids[2:4]
        assert (page["first_id"], page["last_id"], page["has_more"]) == (ids[2], ids[3], True)
        assert (await listed(after=ids[4]))["data"] == []
        for query in ({"after": "cons_x"}, {"limit": 0}, {"limit": "x"}):
            error = (await listed(**query))["error"]
            assert error["param"] in query
            assert error["code"] == ("consent_not_found" if "after" in query else "invalid_value")
    for consent in kept.read():
        kept.remove(consent)


async def test_without_consent_there_is_no_voice_unless_the_owner_says_so(tmp_path):
    app = create_app(Settings(model="preview", voices=tmp_path / "voices", output_dir=tmp_path / "outputs"))
    answer = await create(app)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "consent")
    assert left(tmp_path / "voices") == []


async def test_one_recording_too_many_is_turned_away_in_all_and_of_one_caller(monkeypatch):
    async def refused(_data, field):
        await asyncio.sleep(0.01)
        raise InvalidRequestError(field)

    monkeypatch.setattr(recordings, "_decoded", refused)
    monkeypatch.setattr(recordings, "WAITING", 2)
    recorder = Recorder()
    callers = ["key:a", "key:a", "key:a", "key:b", "key:c"]
    sent = [asyncio.create_task(recorder.decode(b"no sound", "recording", each)) for each in callers]
    ends = await asyncio.gather(*sent, return_exceptions=True)
    turned = [OverloadedError if each in (2, 4) else InvalidRequestError for each in range(5)]
    assert [type(end) for end in ends] == turned
    assert "of your" in str(ends[2])
    assert "of your" not in str(ends[4])
    with pytest.raises(InvalidRequestError):
        await recorder.decode(b"no sound", "recording", "key:a")


async def test_who_hangs_up_while_a_recording_is_read_ends_that_and_its_time_is_bounded(monkeypatch):
    recorder = Recorder()
    reading = asyncio.create_task(recorder.decode(wav(sound(40.0)), "recording", "key:a"))
    await asyncio.sleep(0.05)
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    assert [each for each in psutil.Process().children() if "decoder.py" in " ".join(each.cmdline())] == []
    assert len(await recorder.decode(wav(sound(40.0)), "recording", "key:a")) == 31 * RATE, (
        "no more is ever decoded"
    )
    monkeypatch.setattr(recordings, "DECODE_SECONDS", 0.01)
    with pytest.raises(InvalidRequestError, match="not a recording that can be read"):
        await recorder.decode(wav(sound(40.0)), "recording", "key:a")
    assert [each for each in psutil.Process().children() if "decoder.py" in " ".join(each.cmdline())] == []


def test_what_decodes_a_recording_can_open_nothing_and_has_bounds():
    code = (
        "import runpy, resource, socket, sys\n"
        "decoder = runpy.run_path(sys.argv[1])\n"
        "decoder['_confine']()\n"
        "for what in (lambda: open('/etc/passwd'), socket.socket, lambda: bytes(2 << 30)):\n"
        "    try: what()\n"
        "    except (OSError, MemoryError) as error: print(type(error).__name__)\n"
        "print(resource.getrlimit(resource.RLIMIT_CPU)[0], resource.getrlimit(resource.RLIMIT_FSIZE)[0])"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-c", code, str(recordings.DECODER)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["OSError", "OSError", "MemoryError", "20", "0"]
