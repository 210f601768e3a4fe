"""A report opened in a real browser, and everything it complained of."""

from opened_page import OpenedPage


class Watched(OpenedPage):
    """A report."""

    def shown(self) -> str:
        """What the page says about the list."""
        return str(self.page.locator("#examples output").inner_text())

    def choose(self, name: str, value: str) -> None:
        """Set one filter."""
        self.page.locator(f"[data-filter={name}]").select_option(value)

    def search(self, words: str, expected: str) -> None:
        """Type into the search field and wait for the list to follow."""
        self.page.locator("[data-filter=search]").fill(words)
        self.comes_to_show(expected)

    def comes_to_show(self, expected: str) -> None:
        """Wait until the page says so of the list, which a search and an address change after the event itself."""
        from playwright.sync_api import expect

        expect(self.page.locator("#examples output")).to_have_text(expected)
