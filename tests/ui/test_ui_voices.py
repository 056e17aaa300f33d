"""The page in a real Chromium: voices of one's own are listed, added, heard, taken and removed."""

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.chromium import IN_CHROMIUM, faults, violations, wait_until_heard
from tests.support.recordings import SAID, sound, wav
from tests.support.ui_server import page_server
from tests.ui.test_ui import WORDS

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


def missing(words: dict[str, str]) -> re.Pattern[str]:
    """That voices of recordings cannot be heard here, and what would be needed."""
    parts = words["own.model_missing"].format(model="\0", what=words["model.about.unavailable"])
    return re.compile(".*".join(map(re.escape, parts.split("\0"))))


def removed(page: Page, panel: Locator, name: str, words: dict[str, str]) -> None:
    panel.get_by_role("button", name=words["own.remove_of"].format(voice=name), exact=True).click()
    page.locator("#confirm-yes").click()


NO_MICROPHONE = (
    "navigator.mediaDevices.getUserMedia = async () => { throw new DOMException('no', 'NotAllowedError'); };"
)


def opened(page: Page, words: dict[str, str]) -> Locator:
    """The panel of voices, as the page's reader has it."""
    page.get_by_role("button", name=words["own.open"], exact=True).click()
    panel = page.get_by_role("dialog", name=words["own.title"])
    expect(panel.locator(".own-missing")).to_have_text(missing(words))
    nora = panel.locator("li", has_text="Nora")
    for said in ("own.kind.named", "own.no_memory", "model.state.unavailable"):
        expect(nora).to_contain_text(words[said])
    assert faults(page) == []
    return panel


def filled_in(panel: Locator, words: dict[str, str]) -> tuple[Locator, Locator, Locator]:
    """The form with all but its recordings, which are told to be missing; its recordings, and what it says is wrong."""
    recording = panel.get_by_role("group", name=words["own.recording"], exact=True)
    consent = panel.get_by_role("group", name=words["own.consent_recording"])
    alert = panel.locator("form [role=alert]")
    panel.get_by_label(words["own.name"]).fill("Ann")
    panel.get_by_label(words["own.words"]).fill(SAID)
    panel.get_by_label(words["own.speaker"]).fill("Ann Smith")
    panel.get_by_role("button", name=words["own.add"], exact=True).click()
    expect(alert).to_have_text(words["own.no_recording"])
    recording.locator("input").set_input_files(SHORT)
    expect(recording).to_contain_text(words["sample.too_short"].split("{time}")[1].split("{shortest}")[0])
    recording.locator("input").set_input_files(NO_SOUND)
    return recording, consent, alert


def test_a_voice_is_made_of_a_recording_with_its_speakers_consent_and_removed(
    open_page: Callable[..., Page], voices: tuple[str, Path]
) -> None:
    url, folder = voices
    words = WORDS["en"]
    page = open_page(url, forgive="400")
    panel = opened(page, words)
    recording, consent, alert = filled_in(panel, words)
    consent.get_by_role("button", name=words["sample.record"], exact=True).click()
    page.wait_for_timeout(1_500)
    consent.get_by_role("button", name=words["sample.stop"]).click()
    consent.get_by_role("button", name=words["sample.hear"]).click()
    wait_until_heard(page)
    add = panel.get_by_role("button", name=words["own.add"], exact=True)
    add.click()
    expect(alert).to_contain_text("is not a recording that can be read")
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


def test_without_a_microphone_a_consent_is_a_file_and_a_chinese_reader_is_told_all_in_chinese(
    open_page: Callable[..., Page], voices: tuple[str, Path]
) -> None:
    words = WORDS["zh"]
    viewport = {"width": 360, "height": 740}
    page = open_page(voices[0], locale="zh-CN", forgive="400", script=NO_MICROPHONE, viewport=viewport)
    panel = opened(page, words)
    _, consent, alert = filled_in(panel, words)
    consent.get_by_role("button", name=words["sample.record"], exact=True).click()
    expect(consent).to_contain_text(words["sample.refused"])
    consent.locator("input").set_input_files(LONG_ENOUGH)
    panel.get_by_role("button", name=words["own.add"], exact=True).click()
    expect(alert).to_contain_text(words["error.unreadable_audio"])
    assert faults(page) == []
    panel.locator("summary").click()
    removed(page, panel, "Ann Smith", words)
    expect(panel.locator("summary")).to_be_hidden()


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
