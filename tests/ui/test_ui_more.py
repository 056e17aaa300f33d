"""The page in a real Chromium: volume and pace, light and dark, files, links, takes and the search for a voice."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.chromium import (
    ENGLISH,
    IN_CHROMIUM,
    in_chinese,
    speak,
    until,
    violations,
    wait_for_silence,
    wait_until_heard,
)

pytest.importorskip("playwright.sync_api")
from playwright.sync_api import Page, expect

pytestmark = IN_CHROMIUM


def test_volume_and_pace_are_heard_and_remembered(page: Page) -> None:
    page.get_by_role("slider", name="Volume").fill("0")
    speak(page, ENGLISH)
    expect(page.locator("#history .kept")).to_have_count(1)
    assert page.evaluate("heard.peak") < 0.001
    page.get_by_role("slider", name="Volume").fill("1")
    wait_until_heard(page)
    page.keyboard.press("Escape")
    page.evaluate("heard.pieces.length = 0")
    page.get_by_role("combobox", name="Playback speed").select_option("2")
    page.get_by_role("slider", name="Position in the speech").press("Home")
    page.locator("#play").click()
    until(page, "document.getElementById('speak').textContent.includes('Speak')")
    seconds = "heard.pieces.reduce((sum, piece) => sum + piece.until - piece.when, 0)"
    total = int(page.get_by_role("slider", name="Position in the speech").get_attribute("aria-valuemax"))
    assert page.evaluate(seconds) == pytest.approx(total / 2, abs=0.5)
    page.reload()
    expect(page.get_by_role("combobox", name="Playback speed")).to_have_value("2")


def test_light_and_dark_can_be_chosen_and_are_there_from_the_start(page: Page) -> None:
    ground = "getComputedStyle(document.body).getPropertyValue('--ground')"
    system = page.evaluate(ground)
    page.get_by_role("button", name="Appearance: as the system").click()
    page.get_by_role("button", name="Appearance: light").click()
    dark = page.evaluate(ground)
    assert dark != system
    assert violations(page) == []
    page.reload(wait_until="commit")
    until(page, "document.body !== null")
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    expect(page.get_by_role("button", name="Appearance: dark")).to_be_visible()
    in_chinese(page)
    expect(page.get_by_role("button", name="外观：深色")).to_be_visible()


def test_a_text_file_is_dropped_or_opened_and_another_is_told(page: Page, tmp_path: Path) -> None:
    drop = """(name) => {
      const dropped = new DataTransfer();
      dropped.items.add(new File(["A text that was dropped."], name));
      const target = document.getElementById("composer");
      for (const type of ["dragover", "drop"]) {
        target.dispatchEvent(new DragEvent(type, { dataTransfer: dropped, bubbles: true, cancelable: true }));
      }
    }"""
    page.evaluate(drop, "picture.png")
    for said in ("is not a text file", "不是文本文件"):
        expect(page.get_by_role("alert")).to_contain_text(said)
        page.locator("#language").click()
    page.evaluate(drop, "notes.txt")
    expect(page.locator("#text")).to_have_value("A text that was dropped.")
    expect(page.get_by_role("alert")).to_be_empty()
    chapter = tmp_path / "chapter.md"
    chapter.write_text("\ufeffA chapter.\r\nIts end.", encoding="utf-8")
    page.locator("#file").set_input_files(chapter)
    expect(page.locator("#text")).to_have_value("A chapter.\nIts end.")
    expect(page.locator("#toasts button").first).to_be_visible()


def test_a_link_fills_the_page_and_does_not_speak(page: Page, server_url: str) -> None:
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.locator("#text").fill("Carried & kept.")
    page.locator("#voices").get_by_text("leo", exact=True).click()
    page.get_by_role("spinbutton", name="Speed").fill("1.5")
    page.get_by_role("button", name="Copy a link").click()
    expect(page.locator("#toasts")).to_contain_text("The link is copied")
    in_chinese(page)
    page.locator("#copy-link").click()
    expect(page.locator("#toasts")).to_contain_text("链接已复制")
    page.locator("#language").click()
    other = page.context.new_page()
    other.goto(page.evaluate("navigator.clipboard.readText()"))
    expect(other.locator("#text")).to_have_value("Carried & kept.")
    expect(other.locator("#speaker")).to_contain_text("leo")
    expect(other.get_by_role("spinbutton", name="Speed")).to_have_value("1.5")
    assert other.url == f"{server_url}/"
    expect(other.locator("#play")).to_be_disabled()
    other.goto(f"{server_url}/#voice=nobody&speed=99&model=none")
    expect(other.get_by_role("spinbutton", name="Speed")).to_have_value("4")
    expect(other.locator("#speaker")).to_contain_text("leo")


def test_another_take_has_another_seed_and_stands_beside_the_first(
    open_page: Callable[..., Page], server_url: str
) -> None:
    page = open_page(server_url)

    def as_orpheus(route: Any) -> None:
        offer = route.fetch().json()
        for model in offer["models"]:
            model["engine"] = "orpheus"
        route.fulfill(json=offer)

    speak(page, ENGLISH)
    expect(page.locator("#history .kept")).to_have_count(1)
    expect(page.get_by_role("button", name="Another take")).to_be_hidden()  # the preview's would be the same
    page.route("**/api/models", as_orpheus)
    page.reload()
    asked: list[Any] = []
    page.on("request", lambda request: asked.append(request.post_data) if "generate" in request.url else None)
    speak(page, ENGLISH)
    expect(page.locator("#history .kept")).to_have_count(2)
    page.get_by_role("button", name="Another take").click()
    expect(page.locator("#history .kept")).to_have_count(3)
    first, second = map(json.loads, asked)
    assert "seed" not in first
    assert second == {**first, "seed": second["seed"]}
    expect(page.get_by_role("group", name="Takes")).to_be_visible()
    takes = page.locator("#takes button")
    expect(takes).to_have_text(["Take 1", f"Take 2, seed {second['seed']}"])
    expect(takes.nth(1)).to_have_attribute("aria-pressed", "true")
    in_chinese(page)
    expect(takes).to_have_text(["第 1 版", f"第 2 版，种子 {second['seed']}"])
    page.keyboard.press("Escape")
    wait_for_silence(page)
    page.evaluate("heard.peak = 0")
    takes.nth(0).click()
    wait_until_heard(page)
    assert violations(page) == []


def test_a_voice_is_found_in_every_language(page: Page) -> None:
    search = page.get_by_role("searchbox", name="Search voices")
    search.fill("german")
    expect(page.locator("#voices .voice")).to_have_count(3)
    assert violations(page) == []
    search.fill("pier")
    page.locator("#voices").get_by_text("pierre", exact=True).click()
    expect(page.locator("#speaker")).to_contain_text("pierre")
    search.fill("nobody")
    expect(page.locator("#voices")).to_contain_text("No voice matches")
    in_chinese(page)
    expect(page.locator("#voices")).to_contain_text("没有找到")
    page.locator("#language").click()
    search.fill("")
    expect(page.get_by_role("tab", name="English")).to_be_visible()
