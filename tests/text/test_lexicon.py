"""Words are said as a lexicon has them: the server's, and the request's before it."""

from typing import Any

import pytest

from orpheus_openai.errors import ConfigurationError, InvalidRequestError
from orpheus_openai.settings import Settings
from orpheus_openai.speech.request import SpeechRequest, speech_request
from orpheus_openai.speech.service import SpeechService
from orpheus_openai.text.desk import Desk
from orpheus_openai.text.lexicon import Lexicon, Said, parse_said
from orpheus_openai.text.reading import ReadingRules
from orpheus_openai.text.trace import Traced


def said(text, entries, language="en"):
    reading = ReadingRules(language=language, lexicons=(Lexicon(entries),))
    return " ".join(s.text for s in Desk(["laugh"]).read(text, reading))


@pytest.mark.parametrize(
    ("text", "entries", "expected"),
    [
        ("Use nginx, Nginx and NGINX.", {"nginx": "engine x"}, "Use engine x, engine x and engine x."),
        ("US and us", {"US": "the States"}, "the States and us"),
        ("nginxes, my-nginx nginx_conf", {"nginx": "engine x"}, "nginxes, my-engine x nginx_conf"),
        ("SQL and SQL Server", {"sql": "sequel", "sql server": "sequel server"}, "sequel and sequel server"),
        ("C++ or C", {"C++": "see plus plus"}, "see plus plus or C"),
        ("a.b", {".": "dot"}, "adotb"),
        ("I like **nginx**", {"nginx": "engine x"}, "I like engine x"),
        ("version 2", {"version": "release"}, "release two"),
        ("<laugh> laugh", {"laugh": "giggle"}, "<laugh> giggle"),
        ("word", {"word": "be <|eot_id|> fore"}, "be fore"),
        ("word", {"word": ""}, "word"),
        ("word", {}, "word"),
    ],
)
def test_whole_words_are_said_as_they_are_listed(text, entries, expected):
    assert said(text, entries) == expected


def test_scripts_without_spaces_have_no_word_ends():
    assert said("我去长乐市。", {"长乐": "常乐"}, "zh") == "我去常乐市。"


def test_what_was_said_in_another_way_keeps_its_place():
    text = "We use nginx here."
    reading = ReadingRules(language="en", lexicons=(Lexicon({"nginx": "engine x"}),))
    (segment,) = Desk([]).read(text, reading)
    at = segment.text.index("engine")
    assert segment.trace.span(at, at + len("engine x")) == (7, 12)


async def test_the_requests_entries_go_before_the_servers(tmp_path):
    file = tmp_path / "lexicon.toml"
    file.write_text('[all]\nnginx = "engine x"\nsql = "sequel"\n[fr]\nsql = "esse ku elle"\n')
    service = SpeechService.create(Settings(model="preview", lexicon=file))
    for voice, wish, expected in [
        ("tara", {}, "engine x, sequel"),
        ("tara", {"SQL": "squeal"}, "engine x, squeal"),
        ("pierre", {}, "engine x, esse ku elle"),
    ]:
        speech = service.prepare(
            SpeechRequest(text="nginx, SQL", model="preview", voice=voice, pronunciations=wish)
        )
        segment = await speech._script.next()
        assert segment is not None
        assert segment.text == expected


@pytest.mark.parametrize(
    ("content", "words"),
    [("[en]\nnginx = 5", "Expected `str`"), ("nginx = 'x'", "tables by language"), ("[en", "not valid TOML")],
)
def test_a_lexicon_that_makes_no_sense_stops_the_start(tmp_path, content, words):
    file = tmp_path / "lexicon.toml"
    file.write_text(content)
    with pytest.raises(ConfigurationError, match=words):
        SpeechService.create(Settings(model="preview", lexicon=file))
    with pytest.raises(ConfigurationError, match="cannot be read"):
        SpeechService.create(Settings(model="preview", lexicon=tmp_path / "missing.toml"))


def test_what_a_request_may_bring_has_bounds():
    wrong: list[Any] = [
        {"": "x"},
        {"a" * 101: "x"},
        {"a": "x" * 301},
        {str(n): "x" for n in range(201)},
        {"a": 5},
    ]
    for entries in wrong:
        with pytest.raises(Exception, match="pronunciations"):
            speech_request(text="Hi.", pronunciations=entries)
    with pytest.raises(Exception, match="cast"):
        speech_request(text="Hi.", cast={str(n): "tara" for n in range(51)})
    assert speech_request(text="Hi.", pronunciations={"a": "b"}).pronunciations == {"a": "b"}


async def test_what_a_requests_entries_add_to_a_text_has_an_end():
    service = SpeechService.create(Settings(model="preview"))

    async def said(text, entries):
        asked = SpeechRequest(text=text, model="preview", voice="tara", pronunciations=entries)
        return "".join(segment.text for segment in (await service.plan(asked)).segments)

    assert "artificial intelligence" in await said("AI.", {"AI": "artificial intelligence"})
    assert len(await said("It is AI. " * 300, {"AI": "A. I., yes"})) > 5_000
    for text in ("a " * 20, "Nothing to see here. " * 400 + "a " * 5_000, "&#97; " * 8_000):
        with pytest.raises(InvalidRequestError, match="more than twice as long") as refused:
            await said(text, {"a": "x" * 300})
        assert refused.value.param == "pronunciations"


def test_a_search_for_listed_words_goes_by_windows_and_finds_what_lies_across_their_edges(monkeypatch):
    text, entries = (
        "one twofold two-fold threefold, four five 长乐长长乐。",
        {"two-fold": "2", "four five": "45", "长乐": "C"},
    )
    whole = Lexicon(entries).said(Traced.of(text)).text
    assert whole == "one twofold 2 threefold, 45 C长C。"
    for size in range(1, len(text)):
        monkeypatch.setattr("orpheus_openai.text.lexicon.WINDOW", size)
        assert Lexicon(entries).said(Traced.of(text)).text == whole


# --- for one key --------------------------------------------------------------------------------------------

TWO_KEYS = ("ann:one", "bob:two")
FOR_KEYS = """
[all]
nginx = "engine x"
[keys.ann.all]
nginx = "Ann's engine"
secret = "Ann's secret"
[keys.ann.fr]
nginx = "moteur d'Ann"
"""


async def test_a_key_has_words_of_its_own_that_no_other_sees(tmp_path):
    file = tmp_path / "lexicon.toml"
    file.write_text(FOR_KEYS)
    service = SpeechService.create(Settings(model="preview", lexicon=file, api_keys=TWO_KEYS))
    for account, voice, wish, expected in [
        ("key:ann", "tara", {}, "Ann's engine, Ann's secret"),
        ("key:ann", "pierre", {}, "moteur d'Ann, Ann's secret"),
        ("key:ann", "tara", {"secret": "mine"}, "Ann's engine, mine"),
        ("key:bob", "tara", {}, "engine x, secret"),
        ("anonymous", "tara", {}, "engine x, secret"),
    ]:
        asked = SpeechRequest(text="nginx, secret", model="preview", voice=voice, pronunciations=wish)
        plan = await service.plan(asked, account=account)
        assert plan.segments[0].text == expected


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("[keys.eve.all]\na = 'b'", "no key of that name"),
        ("[keys.ann]\na = 'b'", "tables by language"),
        ("[keys]\nann = 5", "Expected `object`"),
        ("[all]\na = '[[\u02c8a]]'", "IPA is not taken"),
    ],
)
def test_a_table_for_a_key_that_makes_no_sense_stops_the_start(tmp_path, content, words):
    file = tmp_path / "lexicon.toml"
    file.write_text(content)
    with pytest.raises(ConfigurationError, match=words):
        SpeechService.create(Settings(model="preview", lexicon=file, api_keys=TWO_KEYS))


# --- phonemes -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("engine x", Said("engine x")),
        ("[[h@l'oU]]", Said("", "h@l'oU")),
        ("engine x [[,EndZIn 'Eks]]", Said("engine x", ",EndZIn 'Eks")),
        ("[one]", Said("[one]")),
    ],
)
def test_an_entry_may_end_with_phonemes(value, expected):
    assert parse_said(value) == expected


@pytest.mark.parametrize(
    "value", ["[[\u02c8\u025bn]]", "[[]]", "[[a]] b", "[[a", "[[a]]]]", "[[a\nb]]", "[[" + "a" * 201 + "]]"]
)
def test_what_are_no_phonemes_is_refused_with_what_would_do(value):
    with pytest.raises(ValueError, match="phonemes"):
        parse_said(value)
    with pytest.raises(InvalidRequestError) as refused:
        speech_request(text="Hi.", pronunciations={"word": value})
    assert refused.value.param == "pronunciations"
    assert refused.value.message.startswith("word: ")


async def test_a_voice_without_phonemes_has_the_words():
    service = SpeechService.create(Settings(model="preview"))
    wish = {"nginx": "engine x [[,EndZIn'Eks]]", "word": "[[w'3:d]]"}
    for model, expected in [("medium-3b", "engine x word"), ("preview", "nginx word")]:
        plan = await service.plan(SpeechRequest(text="nginx word", model=model, pronunciations=wish))
        assert [s.text for s in plan.segments] == [expected]


async def test_the_preview_speaks_phonemes_in_a_words_place_and_none_that_a_text_spells():
    service = SpeechService.create(Settings(model="preview"))

    async def heard(text, **wish):
        asked = SpeechRequest(text=text, model="preview", pronunciations=wish)
        return b"".join([pcm.tobytes() async for pcm in service.stream(asked)])

    spelt = await heard("nginx", nginx="[[h@l'oU]]")
    assert spelt == await heard("apache", apache="[[h@l'oU]]")
    assert spelt != await heard("nginx")
    assert await heard("Say nginx now.", nginx="[[h@l'oU]]") != await heard("Say nginx now.")
    assert await heard("[[h@l'oU]]") != spelt
    await service.close()


async def test_a_request_goes_before_the_server_with_phonemes_too(tmp_path):
    file = tmp_path / "lexicon.toml"
    file.write_text("[all]\nnginx = 'engine x'\nsql = \"sequel [[s'i:kw@L]]\"\n")
    service = SpeechService.create(Settings(model="preview", lexicon=file))
    wish = {"nginx": "[[h@l'oU]]", "SQL": "squeal"}
    plan = await service.plan(SpeechRequest(text="nginx SQL", model="preview", pronunciations=wish))
    assert plan.segments[0].text == "nginx squeal"
