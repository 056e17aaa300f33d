"""The page in a real Chromium: what is said of a text, and by whom."""

import json
from collections.abc import Callable

import pytest

from tests.support.chromium import IN_CHROMIUM, speak_button, violations, wait_until_heard

sync_api = pytest.importorskip("playwright.sync_api")
Page, expect = sync_api.Page, sync_api.expect
pytestmark = IN_CHROMIUM

DIALOGUE = "Anna: It costs **$5**.\nBen: Hello! &lt;3"


@pytest.mark.parametrize(
    ("locale", "said"),
    [
        ("en-US", ("What will be spoken", "Segments: 2", "markup, figures and signs", "name of a speaker")),
        ("zh-CN", ("将会读什么", "共 2 段", "标记、数字与符号", "说话人的名字")),
    ],
)
def test_the_speakers_of_a_text_get_voices_and_what_will_be_spoken_is_shown_with_its_reasons(
    open_page: Callable[..., Page], server_url: str, locale: str, said: tuple[str, ...]
) -> None:
    title, count, figures, name = said
    page = open_page(f"{server_url}/#voice=tara", locale=locale, forgive="400")
    page.locator("#text").fill("No dialogue: this is.")
    expect(page.locator("#cast")).to_be_hidden()
    page.locator("#text").fill(DIALOGUE)
    page.get_by_role("button", name=title).click()
    page.get_by_role("combobox", name="Anna").select_option("leah")
    page.get_by_role("combobox", name="Ben").select_option("leo")
    plan = page.get_by_role("region", name=title)
    expect(plan).to_contain_text(count)
    expect(plan).to_contain_text("five dollars")
    expect(plan).to_contain_text(figures)
    expect(plan).to_contain_text(name)
    expect(plan.locator("#plan-segments > li")).to_contain_text(["leah", "leo"])
    assert violations(page) == []
    with page.expect_request("**/api/generate") as asked:
        speak_button(page).click()
    assert json.loads(asked.value.post_data)["cast"] == {"Anna": "leah", "Ben": "leo"}
    wait_until_heard(page)
    expect(page.locator("#history .kept")).to_contain_text("tara, leah, leo")
    page.locator("#text").fill("<speak>Broken <p></speak>")
    expect(plan.locator("#plan-said")).to_contain_text("1")  # the line where it is broken
    expect(page.locator("#cast")).to_be_hidden()
