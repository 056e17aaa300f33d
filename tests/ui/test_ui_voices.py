"""The page in a real Chromium: voices of one's own are listed, added, heard, taken and removed."""

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.chromium import IN_CHROMIUM, violations, wait_until_heard
from tests.support.recordings import SAID, sound, wav
from tests.support.ui_server import page_server
from tests.ui.test_ui import WORDS
from tests.ui.test_ui_axe import english_left

pytest.importorskip("playwright.sync_api")
from playwright.sync_api import FilePayload, Locator, Page, expect

pytestmark = IN_CHROMIUM

NAMED = 'name = "Nora"\nkind = "named"\nmodel = "medium-3b"\nlanguages = ["en", "de"]\n'


def recorded(name: str, content: bytes) -> FilePayload:
    return {"name": name, "mimeType": "audio/wav", "buffer": content}


LONG_ENOUGH = recorded("ann.wav", wav(sound(4.0)))
NO_SOUND = recorded("ann.wav", b"no sound at all" * 100)
SHORT = recorded("short.wav", wav(sound(0.5)))


@pytest.fixture(scope="module")
def voices(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """The address of a server that has one voice, and its folder of voices."""
    folder = tmp_path_factory.mktemp("voices")
    (folder / "voices" / "nora").mkdir(parents=True)
    (folder / "voices" / "nora" / "voice.toml").write_text(NAMED)
    with page_server(folder) as url:
        yield url, folder / "voices"


REFUSED = {"en-US": "is not a recording that can be read", "zh-CN": WORDS["zh"]["error.unreadable_audio"]}


def missing(words: dict[str, str]) -> re.Pattern[str]:
    """That voices of recordings cannot be heard here, and what would be needed."""
    parts = words["own.model_missing"].format(model="\0", what=words["model.about.unavailable"])
    return re.compile(".*".join(map(re.escape, parts.split("\0"))))


def faults(page: Page) -> list[str]:
    return violations(page) + english_left(page)


def consent_is_recorded(page: Page, consent: Locator, words: dict[str, str]) -> None:
    consent.get_by_role("button", name=words["sample.record"], exact=True).click()
    page.wait_for_timeout(1_500)
    consent.get_by_role("button", name=words["sample.stop"]).click()
    hear = consent.get_by_role("button", name=words["sample.hear"])
    hear.click()
    wait_until_heard(page)


def consent_is_a_file(consent: Locator, words: dict[str, str]) -> None:
    consent.get_by_role("button", name=words["sample.record"], exact=True).click()
    expect(consent).to_contain_text(words["sample.refused"])
    consent.locator("input").set_input_files(LONG_ENOUGH)


def removed(page: Page, panel: Locator, name: str, words: dict[str, str]) -> None:
    panel.get_by_role("button", name=words["own.remove_of"].format(voice=name), exact=True).click()
    page.locator("#confirm-yes").click()


NO_MICROPHONE = (
    "navigator.mediaDevices.getUserMedia = async () => { throw new DOMException('no', 'NotAllowedError'); };"
)


@pytest.mark.parametrize(
    ("locale", "width", "script"),
    [("en-US", 1280, ""), ("zh-CN", 360, NO_MICROPHONE)],
    ids=["en-US", "zh-CN"],
)
def test_a_voice_is_made_of_a_recording_with_its_speakers_consent_and_removed(
    open_page: Callable[..., Page], voices: tuple[str, Path], locale: str, width: int, script: str
) -> None:
    url, folder = voices
    words = WORDS[locale[:2]]
    page = open_page(
        url, locale=locale, forgive="400", script=script, viewport={"width": width, "height": 740}
    )
    page.get_by_role("button", name=words["own.open"], exact=True).click()
    panel = page.get_by_role("dialog", name=words["own.title"])
    expect(panel.locator(".own-missing")).to_have_text(missing(words))
    nora = panel.locator("li", has_text="Nora")
    for said in ("own.kind.named", "own.no_memory", "model.state.unavailable"):
        expect(nora).to_contain_text(words[said])
    assert faults(page) == []

    recording = panel.get_by_role("group", name=words["own.recording"], exact=True)
    consent = panel.get_by_role("group", name=words["own.consent_recording"])
    panel.get_by_label(words["own.name"]).fill("Ann")
    panel.get_by_label(words["own.words"]).fill(SAID)
    panel.get_by_label(words["own.speaker"]).fill("Ann Smith")
    add = panel.get_by_role("button", name=words["own.add"], exact=True)
    add.click()
    alert = panel.locator("form [role=alert]")
    expect(alert).to_have_text(words["own.no_recording"])
    recording.locator("input").set_input_files(SHORT)
    expect(recording).to_contain_text(words["sample.too_short"].split("{time}")[1].split("{shortest}")[0])
    recording.locator("input").set_input_files(NO_SOUND)
    if script:
        consent_is_a_file(consent, words)
    else:
        consent_is_recorded(page, consent, words)
    add.click()
    expect(alert).to_contain_text(REFUSED[locale])
    expect(panel.get_by_label(words["own.consent"])).not_to_have_value("")  # it is not asked for again
    assert faults(page) == []

    recording.locator("input").set_input_files(LONG_ENOUGH)
    add.click()
    expect(panel.get_by_text(words["own.added"].format(voice="Ann"), exact=True)).to_be_visible()
    ann = panel.locator("li", has_text=words["own.kind.prompt"])
    expect(ann).to_contain_text("MiB")
    (made,) = folder.glob("voice_*")
    removed(page, panel, "Ann", words)
    expect(panel.get_by_text(words["own.removed"].format(voice="Ann"), exact=True)).to_be_visible()
    expect(ann).to_have_count(0)
    assert not made.exists()
    panel.locator("summary").click()
    assert faults(page) == []
    removed(page, panel, "Ann Smith", words)
    expect(panel.locator("summary")).to_be_hidden()
    page.keyboard.press("Escape")
    expect(panel).to_be_hidden()


def test_a_voice_of_ones_own_is_heard_and_taken_where_its_model_speaks(
    open_page: Callable[..., Page], voices: tuple[str, Path]
) -> None:
    def here(route: Any) -> None:
        offer = route.fetch().json()
        for model in offer["models"]:
            model["status"] = "available" if model["id"] == "medium-3b" else model["status"]
        for voice in offer["voices"]:
            voice["removable"] = False
        route.fulfill(json=offer)

    asked = []

    def speak(route: Any) -> None:  # with the voice that this machine has
        asked.append(json.loads(route.request.post_data))
        route.continue_(post_data=json.dumps({**asked[-1], "voice": "tara", "model": "preview"}))

    page = open_page(voices[0], answers={"**/api/models": here, "**/api/generate": speak})
    page.locator("#own-voices").press("Enter")
    expect(page.locator("#own-title")).to_be_focused()
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    expect(page.get_by_role("button", name="Hear a sample of Nora")).to_be_focused()
    page.keyboard.press("Enter")
    wait_until_heard(page)
    assert (asked[0]["voice"], asked[0]["model"]) == ("nora", "medium-3b")
    assert violations(page) == []
    expect(page.get_by_role("button", name="Remove Nora")).to_have_count(0)  # she is somebody else's
    page.get_by_role("button", name="Speak with Nora").click()
    expect(page.locator("#own")).to_be_hidden()
    expect(page.locator("#speaker")).to_contain_text("Nora")
    page.locator("#text").fill("It is I.")
    page.locator("#speak").click()
    expect(page.locator("#history .kept")).to_contain_text("Nora")
    assert asked[-1]["voice"] == "nora"
