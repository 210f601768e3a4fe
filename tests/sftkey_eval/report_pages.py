"""A report opened in a real browser, and everything it complained of."""

from pathlib import Path
from typing import Any


class Watched:
    """A page with everything it complained of or asked for."""

    def __init__(self, browser: Any, path: Path, width: int = 1280, scheme: str = "light") -> None:
        self.page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
        self.complaints: list[str] = []
        self.requests: list[str] = []
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.goto(path.as_uri())
        self.page.wait_for_selector(".example")

    def shown(self) -> str:
        """What the page says about the list."""
        return str(self.page.locator("#examples output").inner_text())

    def choose(self, name: str, value: str) -> None:
        """Set one filter."""
        self.page.locator(f"[data-filter={name}]").select_option(value)

    def search(self, words: str, expected: str) -> None:
        """Type into the search field and wait for the list to follow."""
        self.page.locator("[data-filter=search]").fill(words)
        from playwright.sync_api import expect

        expect(self.page.locator("#examples output")).to_have_text(expected)
