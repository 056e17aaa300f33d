"""Settings: from the environment and .env, checked before anything starts."""

import logging
import re
from pathlib import Path

import pytest

from orpheus_openai.errors import ConfigurationError
from orpheus_openai.settings import load_settings, settings_table, variable_name

ROOT = Path(__file__).parents[1]


def test_defaults_are_the_original_ones():
    settings = load_settings({}, None)
    assert (settings.port, settings.gpu_idle_timeout, settings.model) == (8899, 60, "auto")


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


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("PORT", "abc", "whole number"),
        ("PORT", "70000", "65535"),
        ("GPU_IDLE_TIMEOUT", "-1", "at least 0"),
        ("GPU_IDLE_TIMEOUT", "nan", "number"),
        ("ORPHEUS_LOG_LEVEL", "loud", "debug, info"),
        ("ORPHEUS_SNAC_NOISE", "maybe", "on, off"),
        ("ORPHEUS_REMOTE_URL", "localhost:8000", "http://"),
        ("ORPHEUS_MAX_INPUT_CHARS", "0", "from 1"),
    ],
)
def test_a_bad_value_is_one_plain_line_that_says_which_and_what(name, value, words):
    with pytest.raises(ConfigurationError) as caught:
        load_settings({name: value}, None)
    message = str(caught.value)
    assert message.startswith(f"{name}={value}")
    assert words in message
    assert "\n" not in message


def test_a_misspelt_name_is_warned_about_with_the_right_one(caplog):
    with caplog.at_level(logging.WARNING):
        load_settings({"ORPHEUS_REMOT_URL": "http://a"}, None)
    assert "ORPHEUS_REMOTE_URL" in caplog.text


def test_the_readmes_tables_are_the_codes():
    for readme in ("README.md", "README.zh-CN.md"):
        text = (ROOT / readme).read_text(encoding="utf-8")
        names = set(re.findall(r"^\| `([A-Z_<>]+)` \|", text, flags=re.MULTILINE))
        ours = set(re.findall(r"^\| `([A-Z_<>]+)` \|", settings_table(), flags=re.MULTILINE))
        assert names == ours, readme
    assert settings_table() in (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_example_file_names_only_settings_that_exist():
    names = re.findall(r"^# ?([A-Z_]+[A-Z0-9_]*)=", (ROOT / ".env.example").read_text(), flags=re.MULTILINE)
    known = set(re.findall(r"`([A-Z_0-9]+)`", settings_table()))
    assert names
    assert set(names) <= known


def test_a_field_is_named_after_its_variable():
    assert variable_name("snac_noise") == "ORPHEUS_SNAC_NOISE"
    assert variable_name("port") == "PORT"
