"""The catalog: what has a name, and whose word wins."""

import pytest

from orpheus_openai.catalog import load_catalog
from orpheus_openai.errors import ConfigurationError, InvalidRequestError, NotFoundError

OPENAI_VOICES = "alloy ash ballad coral echo fable onyx nova sage shimmer verse marin cedar".split()
OPENAI_MODELS = ["tts-1", "tts-1-hd", "gpt-4o-mini-tts", "gpt-4o-mini-tts-2025-12-15"]
SIZES = ["medium-3b", "small-1b", "tiny-400m", "nano-150m"]


def test_holds_the_four_sizes_all_voices_and_openais_names():
    catalog = load_catalog()
    assert set(SIZES) <= set(catalog.models)
    assert {"tara", "zoe", "pierre", "jana", "유나", "ऋतिका", "长乐", "javi", "giulia"} <= set(catalog.voices)
    assert all(catalog.voice(name).id in catalog.voices for name in OPENAI_VOICES)
    assert all(catalog.model(name, "medium-3b").id == "medium-3b" for name in OPENAI_MODELS)


def test_every_voice_of_the_catalog_has_a_released_model_that_speaks_its_language():
    catalog = load_catalog()
    for voice in catalog.voices.values():
        first = catalog.models[next(iter(voice.models), "medium-3b")]
        model = catalog.speaking(first, voice)
        assert voice.language in model.languages or voice.models
        assert model.checkpoint or model.engine != "orpheus"


def test_a_french_voice_asks_for_the_french_model():
    catalog = load_catalog()
    assert catalog.speaking(catalog.models["medium-3b"], catalog.voice("pierre")).id == "medium-3b-fr"


def test_a_voice_no_model_of_that_size_speaks_names_what_to_set():
    catalog = load_catalog()
    with pytest.raises(InvalidRequestError, match="French.*small-1b.*ORPHEUS_CATALOG"):
        catalog.speaking(catalog.models["small-1b"], catalog.voice("pierre"))


@pytest.mark.parametrize("name", ["Tara", " tara ", "ALLOY"])
def test_names_are_found_whatever_their_case(name):
    assert load_catalog().voice(name).id == "tara"


def test_unknown_names_say_which_there_are():
    catalog = load_catalog()
    with pytest.raises(InvalidRequestError, match="nobody.*tara") as voice:
        catalog.voice("nobody")
    assert voice.value.param == "voice"
    with pytest.raises(NotFoundError, match="medium-3b") as model:
        catalog.model("no-such-model", "preview")
    assert model.value.param == "model"


def test_a_user_adds_models_voices_and_aliases_without_touching_code(tmp_path):
    own = tmp_path / "mine.toml"
    own.write_text(
        """
        [models.mine-1b]
        title = "Mine"
        checkpoint = "/models/mine"
        languages = ["en"]
        [voices.anna]
        language = "en"
        gender = "female"
        espeak = { language = "en-us", variant = "f3" }
        [voices.tara.espeak]
        language = "en-gb"
        [aliases.models]
        "My Model" = "mine-1b"
        [aliases.voices]
        alloy = "anna"
        """
    )
    catalog = load_catalog(own)
    assert catalog.model("my model", "preview").checkpoint == "/models/mine"
    assert catalog.voice("alloy").id == "anna"
    assert catalog.voices["tara"].espeak.language == "en-gb"
    assert "leah" in catalog.voices


def test_a_voice_belongs_to_the_models_that_know_it(tmp_path):
    own = tmp_path / "mine.toml"
    own.write_text(
        """
        [models.tuned]
        title = "A fine-tune of ours, which still knows Orpheus' voices"
        [models.bells]
        title = "Another family"
        voices = "own"
        [voices.anna]
        language = "en"
        gender = "female"
        models = ["tuned"]
        [voices.ding]
        language = "en"
        gender = "male"
        models = ["bells"]
        """
    )
    catalog = load_catalog(own)
    voices = {
        name: {voice.id for voice in catalog.voices_of(catalog.models[name])} & {"anna", "ding", "tara"}
        for name in ("tuned", "bells", "medium-3b", "preview")
    }
    assert voices == {
        "tuned": {"anna", "tara"},
        "bells": {"ding"},
        "medium-3b": {"tara"},
        "preview": {"tara"},
    }
    with pytest.raises(InvalidRequestError, match="bells does not know the voice 'tara'. .*medium-3b"):
        catalog.speaking(catalog.models["bells"], catalog.voice("tara"))
    with pytest.raises(InvalidRequestError, match="medium-3b does not know.*'anna'. Models that do: tuned."):
        catalog.speaking(catalog.models["medium-3b"], catalog.voice("anna"))


VOICE = '[voices.x]\nlanguage = "en"\n'


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("models = ", "not valid TOML"),
        ('[voices.x]\nlanguage = "xx"\ngender = "female"\nespeak = {language="en-us"}', "'xx'"),
        (
            f'{VOICE}gender = "f"\nespeak = {{language="en-us"}}',
            "[voices.x] gender: expected one of female, male",
        ),
        (f'{VOICE}gender = "male"\nmodels = ["nobody"]', "voice 'x' is said to be of 'nobody'"),
        (f'{VOICE}gender = "male"\nmodels = ["medium-3b-fr"]', "which is not a model that speaks 'en'"),
        (f'{VOICE}gender = "male"\nespeak = 3', "[voices.x] espeak: expected a table"),
        (f'{VOICE}gender = "male"\nespeak = {{}}', "[voices.x] espeak: language is missing; expected a text"),
        (
            f'{VOICE}gender = "male"\nespeak = {{language="de", pitch=100}}',
            "[voices.x] espeak.pitch: expected a whole number from 0 to 99",
        ),
        ("[voices.tara]\nprefix = 3", "[voices.tara] prefix: expected a text"),
        ('[aliases.voices]\nbob = "nobody"', "'nobody'"),
        ('[aliases.models]\nbob = "nothing"', "'nothing'"),
        (
            '[models.x]\ntitle = "x"\ncheckpiont = "y"',
            "[models.x] there is no field checkpiont; there are id, title",
        ),
        ('[models."my.x"]\ntitle = 3', '[models."my.x"] title: expected a text'),
        (
            '[models.x]\ntitle = "x"\nlanguages = "en"',
            "[models.x] languages: expected a list, each entry a text",
        ),
        ('[models.x]\ntitle = "x"\nlanguages = ["en", 3]', "[models.x] languages[1]: expected a text"),
        ('[models.x]\ntitle = "x"\nmemory_gib = -1', "[models.x] memory_gib: expected a number from 0"),
        ('[models.x]\ntitle = "x"\nmemory_gib = nan', "[models.x] memory_gib: expected a number from 0"),
        ("models = 5", "models: expected a table, such as [models.NAME]"),
        ("[[voices]]\nid = 'x'", "voices: expected a table, such as [voices.NAME]"),
        ("[voices]\ntara = 3", "[voices] tara: expected a table, [voices.tara]"),
        ("[languages]\n'a b' = []", '[languages] "a b": expected a table, [languages."a b"]'),
        ('[voices.tara]\nid = "leo"', "[voices.tara] id: it is 'tara'"),
        ('[voices.Tara]\nlanguage = "en"', "[voices.Tara]: names are matched in any case"),
        ("[aliases]\nmodels = 3", "[aliases] models: expected a table, [aliases.models]"),
        ("[aliases.models]\nx = 3", "[aliases.models] x: expected the name it stands for"),
        ('[aliases.voice]\nx = "tara"', "[aliases] voice: there is no such table; there are models, voices"),
        ("aliases = 1", "aliases: expected a table, such as [aliases.voices]"),
        ('[voice.x]\nlanguage = "en"', "voice: there is no such table; there are models, voices, languages"),
        ("directions = 1", "directions: expected a table, such as [directions.en]"),
        ("[directions]\nen = 3", "[directions] en: expected a table, [directions.en]"),
        ('[directions.en]\nlaugh = "haha"', "[directions.en] laugh: expected a list of words"),
        ("[directions.en]\nlaugh = ['']", "[directions.en] laugh: expected a list of words"),
        ('emotion_tags = "abc"', "emotion_tags: expected a list of words"),
        ('emotion_tags = ["<laugh>"]', "emotion_tags: expected a list of words without < and >"),
        ("emotion_tags = [1]", "emotion_tags: expected a list of words"),
    ],
)
def test_a_wrong_file_is_explained_in_one_line(tmp_path, content, words):
    own = tmp_path / "mine.toml"
    own.write_text(content)
    with pytest.raises(ConfigurationError) as caught:
        load_catalog(own)
    message = str(caught.value)
    assert message.startswith(f"{own}: ")
    assert words in message
    assert "\n" not in str(caught.value)


def test_a_missing_file_names_the_setting(tmp_path):
    with pytest.raises(ConfigurationError, match="ORPHEUS_CATALOG"):
        load_catalog(tmp_path / "missing.toml")
