"""The page in a real Chromium: what was written or spoken is not lost, and two tabs agree."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.balancers import balancer, make_certificate, nginx
from tests.support.chromium import (
    ENGLISH,
    IN_CHROMIUM,
    LONG,
    faults,
    in_chinese,
    speak,
    until,
    violations,
    wait_for_silence,
    wait_until_heard,
)
from tests.support.ports import free_port
from tests.support.ui_server import page_server, unhurried

pytest.importorskip("playwright.sync_api")
from playwright.sync_api import Locator, Page, expect

pytestmark = IN_CHROMIUM

OPEN_DATABASE_FAILS = "indexedDB.open = () => { throw new DOMException('no', 'SecurityError'); };"
FIVE_MINUTES = "The sea was calm, and a small boat came out of the fog. " * 90
NO_STORAGE = """
for (const name of ["localStorage", "sessionStorage"]) {
  Object.defineProperty(window, name, { get() { throw new DOMException("no", "SecurityError"); } });
}
"""


def box(page: Page) -> Locator:
    return page.locator("#text")


def kept(page: Page) -> Locator:
    return page.locator("#history .kept")


# --- texts -------------------------------------------------------------------------------------------------------


def test_a_text_that_an_example_or_a_tag_has_changed_comes_back_with_undo(page: Page) -> None:
    box(page).fill("A text of my own.")
    page.get_by_role("button", name="sigh").click()
    expect(box(page)).to_have_value("A text of my own. <sigh> ")
    page.get_by_role("button", name="Story").click()
    expect(box(page)).to_have_value(re.compile("^The lighthouse keeper"))
    page.keyboard.press("Control+z")
    expect(box(page)).to_have_value("A text of my own. <sigh> ")
    page.keyboard.press("Control+z")
    expect(box(page)).to_have_value("A text of my own.")
    page.get_by_role("button", name="Announcement").click()
    page.get_by_role("button", name="Undo").click()
    expect(box(page)).to_have_value("A text of my own.")
    page.get_by_role("button", name="Story").click()
    page.get_by_role("button", name="Announcement").click()  # an example is no loss
    expect(page.get_by_role("button", name="Undo")).to_have_count(1)


def test_each_tab_has_its_own_draft_and_a_new_one_takes_up_what_a_closed_one_left(
    page: Page, server_url: str
) -> None:
    other = page.context.new_page()
    other.goto(server_url)
    box(page).fill("The first tab's text.")
    box(other).fill("The second tab's text.")
    for tab, text in ((page, "The first tab's text."), (other, "The second tab's text.")):
        tab.reload()
        expect(box(tab)).to_have_value(text)
    other.goto("about:blank")
    other.close()
    third = page.context.new_page()
    third.goto(server_url)
    expect(box(third)).to_have_value("The second tab's text.")
    expect(box(page)).to_have_value("The first tab's text.")


# --- takes -------------------------------------------------------------------------------------------------------


def test_what_was_stopped_stays_in_the_history_and_what_was_deleted_comes_back(unhurried_page: Page) -> None:
    page = unhurried_page
    speak(page, LONG)
    wait_until_heard(page)
    page.keyboard.press("Escape")
    expect(kept(page)).to_have_count(1)
    expect(kept(page)).to_contain_text("Stopped")
    in_chinese(page)
    expect(kept(page)).to_contain_text("已停止")
    page.locator("#language").click()
    wait_for_silence(page)
    page.evaluate("heard.peak = 0")
    page.get_by_role("button", name=re.compile("^Play “")).click()
    wait_until_heard(page)
    page.get_by_role("button", name=re.compile("^Delete “")).click()
    expect(kept(page)).to_have_count(0)
    assert violations(page) == []
    page.get_by_role("button", name="Undo").click()
    expect(kept(page)).to_have_count(1)
    page.reload()
    expect(kept(page)).to_contain_text("Stopped")
    page.get_by_role("button", name="Delete all").click()
    page.get_by_role("button", name="Undo").click()
    expect(kept(page)).to_have_count(1)


def test_a_page_that_is_left_in_mid_speech_finds_what_had_come_and_other_tabs_see_it(
    open_page: Callable[..., Page], unhurried_url: str
) -> None:
    page = open_page(unhurried_url, forgive="ERR_ABORTED")
    other = page.context.new_page()
    other.goto(unhurried_url)
    speak(page, LONG)
    expect(kept(other)).to_contain_text("Not finished")
    expect(kept(page)).to_have_count(0)
    in_chinese(other)
    page.reload()
    for tab in (page, other):
        expect(kept(tab)).to_have_count(1)
        expect(kept(tab)).to_contain_text("未完成")
    with page.expect_download() as download:
        kept(page).locator("[data-does=download]").click()
    assert Path(download.value.path()).stat().st_size > 2_000, "a quarter of a second at least"
    page.evaluate("heard.peak = 0")
    kept(page).locator("[data-does=play]").click()
    wait_until_heard(page)


def test_a_server_that_is_killed_in_mid_speech_leaves_what_was_heard_and_is_used_again_when_it_is_back(
    open_page: Callable[..., Page], tmp_path: Path
) -> None:
    with page_server(tmp_path, wrap=unhurried) as url:
        page = open_page(url, forgive="ERR_CONNECTION|ERR_INCOMPLETE_CHUNKED|ERR_EMPTY|ERR_SOCKET")
        alert, connection, toasts = (page.locator(f"#{name}") for name in ("notices", "connection", "toasts"))
        expect(connection).to_have_text("Connected")
        speak(page, LONG)
        wait_until_heard(page)
    expect(alert).to_contain_text("What had arrived can still be heard", timeout=60_000)
    expect(kept(page)).to_contain_text("Broken off")
    expect(connection).to_contain_text("does not answer")
    with page.expect_download() as download:
        kept(page).locator("[data-does=download]").click()
    assert download.value.suggested_filename.endswith(".wav")
    assert Path(download.value.path()).read_bytes().startswith(b"RIFF")
    expect(toasts).to_contain_text("Saved as WAV")
    page.keyboard.press("Control+Enter")
    expect(alert).to_contain_text("Check that it is running")
    assert violations(page) == []

    with page_server(tmp_path, port=int(url.rsplit(":", 1)[1]), wrap=unhurried):
        expect(connection).to_have_text("Connected", timeout=60_000)
        in_chinese(page)
        page.evaluate("heard.peak = 0")
        page.keyboard.press("Control+Enter")
        wait_until_heard(page)
    expect(alert).to_contain_text("已收到的部分仍可收听", timeout=60_000)
    expect(kept(page).first).to_contain_text("已中断")
    expect(connection).to_contain_text("服务器没有响应")
    with page.expect_download():
        kept(page).first.locator("[data-does=download]").click()
    expect(toasts).to_contain_text("已存为 WAV")
    assert faults(page) == []
    page.keyboard.press("Control+Enter")
    expect(alert).to_contain_text("请确认它正在运行")
    page.goto("about:blank")


def test_captions_are_saved_beside_the_speech_also_of_one_in_the_history(
    open_page: Callable[..., Page], server_url: str
) -> None:
    page = open_page(f"{server_url}/#voice=tara")
    speak(page, ENGLISH)
    expect(kept(page)).to_have_count(1)
    page.reload()
    kept(page).locator("[data-does=play]").click()
    with page.expect_download() as download:
        page.get_by_role("button", name="Captions").click()
    assert download.value.suggested_filename.endswith(".srt")
    captions = Path(download.value.path()).read_text(encoding="utf-8")
    assert captions.startswith("1\n00:00:00,")
    assert "Nobody had expected it." in captions
    in_chinese(page)
    expect(page.get_by_role("button", name="字幕")).to_be_visible()


@pytest.mark.skipif(shutil.which("nginx") is None, reason="needs nginx")
def test_five_minutes_are_downloaded_through_our_nginx_without_sending_the_sound_back(
    open_page: Callable[..., Page], server_url: str, tmp_path: Path
) -> None:
    make_certificate(tmp_path)
    port = free_port()
    with balancer(nginx(tmp_path, port, [server_url.removeprefix("http://")]), tmp_path, port):
        page = open_page(f"https://localhost:{port}", ignore_https_errors=True)
        sent = []
        page.on("request", lambda request: sent.append(request) if "encode" in request.url else None)
        page.get_by_label("Format").select_option("flac")  # which takes a tenth of what MP3 does
        speak(page, FIVE_MINUTES)
        expect(kept(page)).to_have_count(1)
        page.keyboard.press("Escape")
        minutes = int(page.locator("#total").inner_text().partition(":")[0])
        with page.expect_download() as download:
            page.get_by_role("button", name="Download FLAC").click()
        assert Path(download.value.path()).read_bytes().startswith(b"fLaC")
        page.goto("about:blank")
    assert minutes >= 5
    assert download.value.suggested_filename.endswith(".flac")
    assert sent == []


# --- two tabs ----------------------------------------------------------------------------------------------------


def test_two_tabs_have_one_history_and_one_voice(page: Page, server_url: str) -> None:
    other = page.context.new_page()
    other.goto(server_url)
    speak(page, "Something short to be said. " * 40)
    wait_until_heard(page)
    expect(kept(other)).to_have_count(1)
    other.get_by_role("button", name=re.compile("^Play “")).click()
    wait_until_heard(other)
    wait_for_silence(page)
    page.evaluate("heard.peak = 0")
    page.locator("#play").click()
    wait_until_heard(page)
    wait_for_silence(other)
    page.get_by_role("button", name=re.compile("^Delete “")).click()
    expect(kept(other)).to_have_count(0)


def test_a_take_that_is_gone_is_told_in_words(page: Page) -> None:
    speak(page, ENGLISH)
    expect(kept(page)).to_have_count(1)
    page.evaluate(
        """() => new Promise((resolve) => {
          const asked = indexedDB.open("orpheus");
          asked.onsuccess = () => {
            const going = asked.result.transaction(["sounds", "speeches"], "readwrite");
            going.objectStore("sounds").clear();
            going.objectStore("speeches").clear();
            going.oncomplete = resolve;
          };
        })"""
    )
    page.get_by_role("button", name=re.compile("^Play “")).click()
    expect(page.get_by_role("alert")).to_contain_text("deleted, perhaps in another tab")
    in_chinese(page)
    expect(page.get_by_role("alert")).to_contain_text("它已被删除，可能是在另一个标签页中")
    expect(kept(page)).to_have_count(0)


# --- the history -------------------------------------------------------------------------------------------------


def test_the_history_is_searched_and_its_takes_are_named(page: Page) -> None:
    for text in (ENGLISH, "Something else."):
        speak(page, text)
        expect(kept(page).filter(has_text=text)).to_have_count(1)
        page.keyboard.press("Escape")
    page.get_by_role("button", name="Name “Something else.”").click()
    page.get_by_role("textbox", name="Name").fill("The opening")
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="Name “The opening”")).to_be_focused()
    page.get_by_role("searchbox", name="Search the history").fill("opening")
    expect(kept(page)).to_have_count(1)
    page.get_by_role("searchbox", name="Search the history").fill("no such words")
    expect(page.locator("#history")).to_contain_text("Nothing in the history matches these words.")
    in_chinese(page)
    expect(page.locator("#history")).to_contain_text("历史记录中没有这些文字。")
    page.locator("#language").click()
    page.reload()
    expect(kept(page)).to_have_count(2)
    with page.expect_download() as download:
        page.get_by_role("button", name="Download “The opening”").click()
    assert download.value.suggested_filename.startswith("orpheus-tara-the-opening-")


def test_a_history_that_is_nearly_full_says_so_and_scrolls_in_itself(page: Page) -> None:
    page.evaluate(
        """() => new Promise((resolve) => {
          const asked = indexedDB.open("orpheus");
          asked.onsuccess = () => {
            const going = asked.result.transaction(["sounds", "speeches"], "readwrite");
            for (let id = 0; id < 95; id += 1) {
              going.objectStore("speeches").put({
                id: String(id), text: `Text ${id}`, voice: "tara", created: id, seconds: 1, outline: [], wanted: {},
              });
            }
            going.oncomplete = resolve;
          };
        })"""
    )
    page.reload()
    expect(page.locator("#history-room")).to_contain_text("95 of 100 takes")
    expect(page.locator("#history-room")).to_contain_text("the oldest go")
    in_chinese(page)
    expect(page.locator("#history-room")).to_contain_text("95 / 100 段")
    expect(page.locator("#history-room")).to_contain_text("最早的会被移除")
    assert page.evaluate("document.documentElement.scrollHeight") < 3_000
    page.set_viewport_size({"width": 360, "height": 740})
    assert page.evaluate("document.documentElement.scrollHeight") < 4_500


# --- nothing blank -----------------------------------------------------------------------------------------------


def test_without_storage_the_page_works_until_it_is_left_and_says_so(
    open_page: Callable[..., Page], server_url: str
) -> None:
    page = open_page(server_url, script=NO_STORAGE + OPEN_DATABASE_FAILS)
    speak(page, ENGLISH)
    wait_until_heard(page)
    expect(kept(page)).to_have_count(1)
    expect(page.locator("#history-room")).to_contain_text("kept until you leave")
    in_chinese(page)
    expect(page.locator("#history-room")).to_contain_text("只保留到离开页面为止")
    expect(page.locator("#speak")).to_contain_text("停止")
    page.keyboard.press("Escape")
    until(page, "document.getElementById('speak').textContent.includes('朗读')")
