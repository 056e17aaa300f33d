"""The page in a real Chromium: what is said of a text, and by whom."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from orpheus_openai.events import EventHub
from tests.support.chromium import (
    IN_CHROMIUM,
    english_left,
    faults,
    in_chinese,
    speak_button,
    wait_until_heard,
)
from tests.support.ui_server import page_server
from tests.ui.test_ui import WORDS

pytest.importorskip("playwright.sync_api")
from playwright.sync_api import Page, expect

pytestmark = IN_CHROMIUM

DIALOGUE = "Anna: It costs **$5**.\nBen: Hello! &lt;3"


def test_the_speakers_of_a_text_get_voices_and_what_will_be_spoken_is_shown_with_its_reasons(
    open_page: Callable[..., Page], server_url: str
) -> None:
    page = open_page(f"{server_url}/#voice=tara", forgive="400")
    page.locator("#text").fill("No dialogue: this is.")
    expect(page.locator("#cast")).to_be_hidden()
    page.locator("#text").fill(DIALOGUE)
    page.locator("#explain").click()
    page.get_by_role("combobox", name="Anna").select_option("leah")
    page.get_by_role("combobox", name="Ben").select_option("leo")
    plan = page.locator("#plan")
    expect(plan).to_contain_text("five dollars")
    expect(plan.locator("#plan-segments > li")).to_contain_text(["leah", "leo"])
    for said in (
        ("What will be spoken", "Segments: 2", "markup, figures and signs", "name of a speaker"),
        ("将会读什么", "共 2 段", "标记、数字与符号", "说话人的名字"),
    ):
        for words in said:
            expect(plan).to_contain_text(words)
        assert faults(page) == []
        page.locator("#language").click()
    with page.expect_request("**/api/generate") as asked:
        speak_button(page).click()
    assert json.loads(asked.value.post_data)["cast"] == {"Anna": "leah", "Ben": "leo"}
    wait_until_heard(page)
    expect(page.locator("#history .kept")).to_contain_text("tara, leah, leo")
    page.keyboard.press("Escape")
    page.locator("#text").fill("<speak><audio/><prosody pitch='high'>Hello ᏣᎳᎩ.</prosody></speak>")
    warned = (("plan.not_done", "<audio>"), ("plan.only_rate", "<prosody pitch>"), ("plan.by_name", ""))
    for language in ("en", "zh"):
        for key, what in warned:
            expect(plan.locator("#plan-warnings")).to_contain_text(WORDS[language][key].format(what=what))
        assert english_left(page) == []
        page.locator("#language").click()
    page.locator("#text").fill("<speak>Broken <p></speak>")
    for place in ("line 1, column 20", "第 1 行第 20 列"):
        expect(plan.locator("#plan-said")).to_contain_text(place)
        assert english_left(page) == []
        page.locator("#language").click()
    expect(page.locator("#cast")).to_be_hidden()


def test_what_was_not_spoken_well_is_marked_in_the_history_and_can_be_spoken_again(
    open_page: Callable[..., Page], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish = EventHub.publish

    def with_a_verdict(hub: EventHub, kind: str, *, owner: str | None = None, **data: Any) -> None:
        if kind == "speech.ended" and data["characters"] > 20:  # the preview itself cannot fail so
            place = {"model": data["model"], "verdict": "suspect:silence", "start": 7, "end": 14, "tries": 3}
            publish(hub, "speech.verified", owner=owner, id=data["id"], **place)
        publish(hub, kind, owner=owner, **data)

    monkeypatch.setattr(EventHub, "publish", with_a_verdict)
    with page_server(tmp_path) as url:
        page = open_page(url)
        page.locator("#text").fill("First. Second. And a third one.")
        speak_button(page).click()
        kept = page.locator("#history .kept")
        for mark, why in (("Listen again: 1", "a long silence"), ("请重听：1 处", "很长的沉默")):
            page.locator("#history summary", has_text=mark).click()
            expect(kept).to_contain_text(why)
            assert faults(page) == []
            page.locator("#language").click()
        in_chinese(page)
        page.locator("#history summary").click()
        with page.expect_request("**/api/generate") as asked:
            kept.get_by_text("重新朗读这一段").click()
        assert json.loads(asked.value.post_data)["text"] == "Second."
        expect(kept).to_have_count(2)
        page.reload()
        expect(page.locator("#history summary", has_text="请重听：1 处")).to_have_count(1)
        page.goto("about:blank")
