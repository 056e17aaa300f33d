"""The page in a real Chromium: speech while one types, and listeners that cut in."""

import re
from collections.abc import Callable

import pytest

from tests.support.chromium import ENGLISH, IN_CHROMIUM, speak_button, until, violations, wait_until_heard

pytest.importorskip("playwright.sync_api")
from playwright.sync_api import Page, expect

pytestmark = IN_CHROMIUM

SEEN = """() => {
  window.words = [];
  const see = () => words.push(document.querySelector("#mirror .word")?.textContent);
  new MutationObserver(see).observe(document.getElementById("mirror"), { childList: true, subtree: true });
}"""


@pytest.mark.parametrize(
    ("locale", "name", "said"), [("en-US", "Live", "spoken while you write"), ("zh-CN", "实时", "边写边读")]
)
def test_what_is_typed_is_spoken_while_one_types_and_kept_when_it_has_ended(
    open_page: Callable[..., Page], server_url: str, locale: str, name: str, said: str
) -> None:
    page = open_page(f"{server_url}/#voice=tara", locale=locale)
    page.evaluate(SEEN)
    box = page.locator("#text")
    box.fill("Not this. ")
    page.get_by_role("switch", name=name).check()
    expect(page.locator("#live-note")).to_contain_text(said)
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
    box.press_sequentially(" And the next.")
    page.keyboard.press("Control+Enter")
    page.get_by_role("switch", name=name).uncheck()
    expect(kept.first).to_contain_text("And the next.", timeout=20_000)
    expect(page.locator("#live-note")).to_be_hidden()


@pytest.mark.parametrize(
    ("locale", "cut"), [("en-US", r"^Stopped after “(.*)”$"), ("zh-CN", r"^停在“(.*)”之后$")]
)
@pytest.mark.parametrize("live", [False, True])
def test_who_cuts_in_is_told_where(
    open_page: Callable[..., Page], server_url: str, locale: str, cut: str, live: bool
) -> None:
    page = open_page(f"{server_url}/#voice=tara", locale=locale)
    if live:
        page.locator("#live").check()
    page.locator("#text").fill(ENGLISH)
    if not live:
        speak_button(page).click()
    wait_until_heard(page)
    until(page, "heard.pieces.length > 0")
    page.wait_for_timeout(1_200)
    page.keyboard.press("Escape")
    expect(page.locator("#phase")).to_have_text(re.compile(cut))
    words = re.match(cut, page.locator("#phase").inner_text())
    assert words is not None
    assert ENGLISH.startswith(words[1])
    assert words[1] != ENGLISH
    expect(page.locator("#history .kept")).to_have_count(1)
