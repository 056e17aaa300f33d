"""The page in a real Chromium: speech while one types, and listeners that cut in."""

import re
from collections.abc import Callable

import pytest

from tests.support.chromium import (
    ENGLISH,
    IN_CHROMIUM,
    faults,
    in_chinese,
    speak_button,
    until,
    violations,
    wait_until_heard,
)

pytest.importorskip("playwright.sync_api")
from playwright.sync_api import Page, expect

pytestmark = IN_CHROMIUM

SEEN = """() => {
  window.words = [];
  const see = () => words.push(document.querySelector("#mirror .word")?.textContent);
  new MutationObserver(see).observe(document.getElementById("mirror"), { childList: true, subtree: true });
}"""


def test_what_is_typed_is_spoken_while_one_types_and_kept_when_it_has_ended(
    open_page: Callable[..., Page], server_url: str
) -> None:
    page = open_page(f"{server_url}/#voice=tara")
    page.evaluate(SEEN)
    box = page.locator("#text")
    box.fill("Not this. ")
    page.get_by_role("switch", name="Live").check()
    expect(page.locator("#live-note")).to_contain_text("spoken while you write")
    assert violations(page) == []
    box.press_sequentially("The sea was calm, and a small boat came. ")
    wait_until_heard(page)  # though nobody has said that this is all
    expect(page.locator("#mirror mark")).to_contain_text("The sea was calm")
    box.press_sequentially("It had no sail.")
    page.keyboard.press("Control+Enter")
    kept = page.locator("#history .kept")
    expect(kept).to_contain_text("The sea was calm, and a small boat came. It had no sail.")
    until(page, "words.includes('sail')")
    assert not any(word in ("Not", "this") for word in page.evaluate("words"))
    in_chinese(page)
    expect(page.locator("#live-note")).to_contain_text("边写边读")
    assert faults(page) == []
    box.press_sequentially(" And the next.")
    page.keyboard.press("Control+Enter")
    page.get_by_role("switch", name="实时").uncheck()
    expect(kept.first).to_contain_text("And the next.", timeout=20_000)
    expect(page.locator("#live-note")).to_be_hidden()


def test_who_cuts_in_is_told_where_until_it_goes_on(open_page: Callable[..., Page], server_url: str) -> None:
    page = open_page(f"{server_url}/#voice=tara")
    phase = page.locator("#phase")
    for live in (False, True):
        page.locator("#text").fill("")
        page.locator("#live").set_checked(live)
        page.evaluate("Object.assign(heard, { peak: 0, pieces: [] })")
        page.locator("#text").fill(ENGLISH)
        if not live:
            speak_button(page).click()
        wait_until_heard(page)
        until(page, "heard.pieces.length > 0")
        page.wait_for_timeout(1_200)
        page.keyboard.press("Escape")
        for cut in (r"^Stopped after “(.*)”$", r"^停在“(.*)”之后$"):
            expect(phase).to_have_text(re.compile(cut))
            words = re.match(cut, phase.inner_text())
            assert words is not None
            assert ENGLISH.startswith(words[1])
            assert words[1] != ENGLISH
            page.locator("#language").click()
        expect(page.locator("#history .kept")).to_have_count(1 + live)
    page.locator("#play").click()
    expect(phase).to_be_empty()  # it goes on
