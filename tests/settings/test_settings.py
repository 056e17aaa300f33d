"""Settings: from the environment and .env, checked before anything starts."""

import logging
import re
import subprocess
import sys
from pathlib import Path
from typing import Annotated, get_args, get_origin

import msgspec
import pytest
from msgspec import Meta

from benchmarks.house import PACKAGES
from orpheus_openai.errors import ConfigurationError
from orpheus_openai.expected import expected
from orpheus_openai.limits.gate import Gate
from orpheus_openai.settings import Settings, load_settings, variable_name
from orpheus_openai.settings.dotenv import read_line
from orpheus_openai.settings.table import README, settings_table

ROOT = Path(__file__).parents[2]


def test_defaults_are_the_original_ones():
    settings = load_settings({}, None)
    assert (settings.port, settings.gpu_idle_timeout, settings.model) == (8899, 60, "auto")


def test_every_setting_is_of_a_type_that_can_be_read():
    assert msgspec.convert({}, Settings) == Settings()


def test_the_environment_wins_over_the_file(tmp_path):
    file = tmp_path / ".env"
    file.write_text("PORT=9000\nORPHEUS_LOG_LEVEL=debug\n# PORT=1\n")
    settings = load_settings({"PORT": "9001"}, file)
    assert (settings.port, settings.log_level) == (9001, "debug")


def test_an_empty_value_is_no_value():
    assert load_settings({"PORT": " "}, None).port == 8899


def test_several_urls_are_separated_by_commas():
    settings = load_settings({"ORPHEUS_REMOTE_URL": "http://a:1/v1/, http://b:2/v1"}, None)
    assert settings.remote_url == ("http://a:1/v1", "http://b:2/v1")


BAD = [
    ("PORT", "abc", "a whole number from 0 to 65535"),
    ("PORT", "70000", "from 0 to 65535"),
    ("ORPHEUS_GPU_LAYERS", "-1", "a whole number from 0 to 1000"),
    ("GPU_IDLE_TIMEOUT", "-1", "a number of at least 0"),
    ("GPU_IDLE_TIMEOUT", "nan", "a number of at least 0"),
    ("ORPHEUS_LOG_LEVEL", "loud", "one of debug, info"),
    ("ORPHEUS_SNAC_NOISE", "maybe", "on, off or a whole number"),
    ("ORPHEUS_AUDIT_TEXT", "perhaps", "true or false"),
    ("ORPHEUS_REMOTE_URL", "localhost:8000", "begins with http:// or https://"),
    ("ORPHEUS_REMOTE_URL", "http://a:1/v1,b", "'b' is not a URL"),
    ("ORPHEUS_REMOTE_URL", "http://[", "is not a URL"),
    ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4318", "is not a URL"),
    ("ORPHEUS_MAX_INPUT_CHARS", "0", "from 1"),
    ("ORPHEUS_CORS_ORIGINS", "https://app.example.com/page", "more than a site"),
    ("ORPHEUS_TRUSTED_PROXIES", "foo", "'foo' is neither an IP address nor a network"),
    ("ORPHEUS_TRUSTED_PROXIES", "127.0.0.1,10.0.0.0/99", "'10.0.0.0/99' is neither"),
    ("ORPHEUS_TRUSTED_PROXIES", "*", "'*' is neither"),
]


@pytest.mark.parametrize(("name", "value", "words"), BAD)
def test_a_bad_value_is_one_plain_line_that_says_which_and_what(name, value, words):
    with pytest.raises(ConfigurationError) as caught:
        load_settings({name: value}, None)
    message = str(caught.value)
    assert message.startswith(f"{name}={value}")
    assert words in message
    assert "\n" not in message
    assert "None" not in message


LISTS = [
    variable_name(field.name)
    for field in msgspec.structs.fields(Settings)
    if get_origin(get_args(field.type)[0]) is tuple
]


@pytest.mark.parametrize("value", [",", ", ,", " , "])
@pytest.mark.parametrize("name", LISTS)
def test_a_list_that_is_set_but_holds_nothing_is_an_error(name, value):
    assert "ORPHEUS_API_KEYS" in LISTS
    with pytest.raises(ConfigurationError, match=f"^{name}=.*it is set, but holds nothing"):
        load_settings({name: value}, None)


@pytest.mark.parametrize("name", ["ORPHEUS_RATE_LIMIT", "ORPHEUS_BLOCK_LIST"])
def test_limits_that_are_set_but_hold_nothing_are_an_error(name, tmp_path):
    with pytest.raises(ConfigurationError, match=f"^{name}=, ,: it is set, but holds no"):
        Gate.create(load_settings({name: ", ,"}, None))


def test_a_file_of_blocked_words_that_holds_none_is_an_error(tmp_path):
    (tmp_path / "words.txt").write_text("# none yet\n\n")
    with pytest.raises(ConfigurationError, match="holds no word"):
        Gate.create(load_settings({"ORPHEUS_BLOCK_LIST": str(tmp_path / "words.txt")}, None))


def test_a_network_is_written_as_the_standard_has_it():
    settings = load_settings({"ORPHEUS_TRUSTED_PROXIES": "10.1.2.3/8, ::1, 192.168.0.7"}, None)
    assert settings.trusted_proxies == ("10.0.0.0/8", "::1", "192.168.0.7")


def test_no_secret_is_shown_in_an_error():
    for name in ("ORPHEUS_REDIS_URL", "ORPHEUS_API_KEYS"):
        with pytest.raises(ConfigurationError) as caught:
            load_settings({name: "hunter2://:hunter2@h" if "URL" in name else ", ,"}, None)
        assert str(caught.value).startswith(f"{name}=…: ")
        assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (Annotated[int, Meta(le=5)], "a whole number of at most 5"),
        (Annotated[float, Meta(gt=0)], "a number above 0"),
        (Annotated[float, Meta(gt=0, le=2)], "a number above 0 and of at most 2"),
        (Annotated[int, Meta(ge=1, le=5)], "a whole number from 1 to 5"),
        (int, "a whole number"),
        (Annotated[str, Meta(pattern="^[a-z]+$")], "a text of the form ^[a-z]+$"),
        (Annotated[str, Meta(pattern="^x$", extra={"expected": "an x"})], "an x"),
        (tuple[str, ...], "a list, each entry a text"),
        (str | None, "a text"),
    ],
)
def test_what_would_do_is_said_from_the_fields_own_type_and_limits(kind, words):
    assert expected(kind) == words


def test_a_misspelt_name_is_warned_about_with_the_right_one(caplog):
    with caplog.at_level(logging.WARNING):
        load_settings({"ORPHEUS_REMOT_URL": "http://a"}, None)
    assert "ORPHEUS_REMOTE_URL" in caplog.text


def variables_of(table):
    return re.findall(r"^\| `([A-Z_<>]+)` \|", table, flags=re.MULTILINE)


def test_the_page_of_settings_is_made_of_their_definition():
    made = subprocess.run(
        [sys.executable, "-m", "orpheus_openai.settings.table"], capture_output=True, check=True, timeout=60
    )
    up_to_date = made.stdout.decode() == (ROOT / "docs/configuration.md").read_text(encoding="utf-8")
    assert up_to_date, "python -m orpheus_openai.settings.table > docs/configuration.md brings it up to date"
    assert len(variables_of(settings_table())) == len(msgspec.structs.fields(Settings))


def test_every_setting_counts_somewhere():
    files = [
        file
        for package in PACKAGES
        for file in (ROOT / package).rglob("*.py")
        if "settings" not in file.parts
    ]
    used = {name for file in files for name in re.findall(r"\.(\w+)", file.read_text(encoding="utf-8"))}
    # That one is the driver's own variable, and is read where the driver is asked.
    assert {field.name for field in msgspec.structs.fields(Settings)} - used == {"nvidia_visible_devices"}


def test_the_readmes_show_the_settings_one_needs():
    needed = variables_of(settings_table(README))
    assert len(needed) == len(README) == 8
    for readme in ("README.md", "README.zh-CN.md"):
        assert variables_of((ROOT / readme).read_text(encoding="utf-8")) == needed
    assert settings_table(README) in (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_example_file_names_only_settings_that_exist_and_can_be_read():
    lines = (ROOT / ".env.example").read_text().splitlines()
    shown = [read_line(line[2:]) for line in lines if re.match("# [A-Z_]+[A-Z0-9_]*=", line)]
    known = set(re.findall(r"`([A-Z_0-9]+)`", settings_table()))
    assert len(shown) > 5
    assert {name for name, _ in shown} <= known


def test_a_field_is_named_after_its_variable():
    assert variable_name("snac_noise") == "ORPHEUS_SNAC_NOISE"
    assert variable_name("port") == "PORT"
