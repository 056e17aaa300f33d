"""Chromium for a module of tests, and pages in fresh profiles."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import pytest

from orpheus_openai.gpu import monitor
from orpheus_openai.gpu.device import GPU, GPUSample
from tests.support.chromium import CHROMIUM, FLAGS, PATIENCE, TAP
from tests.support.ui_server import page_server, unhurried


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    sync_api = pytest.importorskip("playwright.sync_api")
    with sync_api.sync_playwright() as playwright:
        sync_api.expect.set_options(timeout=1_000 * PATIENCE)
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser: Any) -> Iterator[Callable[..., Any]]:
    """Opens the page in a fresh profile; afterwards nothing may have gone wrong and nothing been asked elsewhere."""
    contexts = []
    wrong: list[str] = []

    def open_one(
        url: str,
        *,
        forgive: str | None = None,
        script: str = "",
        line: dict[str, Any] | None = None,
        refuse: Iterable[str] = (),
        answers: Mapping[str, Callable[[Any], Any]] | None = None,
        ready: str = "html[data-ready]",
        **options: Any,
    ) -> Any:
        context = browser.new_context(
            **{"locale": "en-US", "viewport": {"width": 1280, "height": 900}, **options}
        )
        contexts.append(context)
        context.set_default_timeout(1_000 * PATIENCE)
        context.add_init_script(TAP + script)
        page = context.new_page()

        def on_console(message: Any) -> None:
            if message.type in ("error", "warning") and not (forgive and re.search(forgive, message.text)):
                wrong.append(f"{message.type}: {message.text}")

        def on_request(request: Any) -> None:
            if not request.url.startswith((url.partition("#")[0], "blob:")):
                wrong.append(f"asked elsewhere: {request.url}")

        page.on("console", on_console)
        page.on("pageerror", lambda error: wrong.append(f"error: {error}"))
        page.on("request", on_request)
        for pattern in refuse:
            page.route(pattern, lambda route: route.fulfill(status=503))
        for pattern, answer in (answers or {}).items():
            page.route(pattern, answer)
        if line:
            page.context.new_cdp_session(page).send("Network.emulateNetworkConditions", line)
        page.goto(url, timeout=60_000)
        page.wait_for_selector(ready, state="attached", timeout=60_000)
        return page

    yield open_one
    for context in contexts:
        context.close()
    assert wrong == []


@pytest.fixture
def page(open_page: Callable[..., Any], server_url: str) -> Any:
    return open_page(server_url)


@pytest.fixture(scope="module")
def unhurried_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server that makes long texts as a card does: what nobody will hear any more costs nothing."""
    with page_server(tmp_path_factory.mktemp("unhurried"), wrap=unhurried) as url:
        yield url


@pytest.fixture
def unhurried_page(open_page: Callable[..., Any], unhurried_url: str) -> Any:
    return open_page(unhurried_url)


@pytest.fixture
def a_card(monkeypatch: pytest.MonkeyPatch) -> None:
    """One GPU, as NVIDIA's driver would tell of it."""
    card = GPU(
        index=0,
        name="NVIDIA L4",
        uuid="GPU-1",
        memory_total=24 * 2**30,
        memory_used=9 * 2**30,
        utilization=41,
        temperature_c=58,
        power_watts=61.5,
        processes=(),
    )
    monkeypatch.setattr(monitor, "sample_gpus", lambda: GPUSample((card,)))
