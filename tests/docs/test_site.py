"""The site of the documentation builds without a warning, from the files as they lie in the repository."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest
from markdown_blocks import DOCUMENTS, ROOT


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if importlib.util.find_spec("mkdocs") is None:
        pytest.skip("mkdocs is not installed: `pip install sftkey[docs]`")
    out = tmp_path_factory.mktemp("site") / "site"
    command = [sys.executable, "docs/site/make_site.py", str(out)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "WARNING" not in done.stderr
    return out


def test_every_document_is_a_page_that_the_contents_name(site: Path) -> None:
    navigation = re.findall(r": ([\w/.-]+\.md)$", (ROOT / "docs" / "site" / "mkdocs.yml").read_text(), re.M)
    assert set(DOCUMENTS) <= set(navigation)
    for document in DOCUMENTS:
        page = "index.html" if document == "README.md" else re.sub(r"README\.md$", "index.md", document)
        assert (site / re.sub(r"\.md$", ".html", page)).is_file(), document


def test_a_page_asks_for_nothing_outside_the_site(site: Path) -> None:
    pages = sorted(site.rglob("*.html"))
    asked = re.compile(
        r"<(?:script|img|iframe)[^>]* src=\"?(https?:[^\"> ]+)|<link rel=\"?stylesheet\"?[^>]* href=\"?(https?:\S+)"
    )
    assert {match for page in pages for match in asked.findall(page.read_text(encoding="utf-8"))} == set()


def test_every_picture_is_small_and_shown_in_a_document() -> None:
    shown = "".join((ROOT / document).read_text(encoding="utf-8") for document in DOCUMENTS)
    pictures = sorted((ROOT / "docs" / "pictures").iterdir())
    assert pictures
    for picture in pictures:
        assert f"pictures/{picture.name})" in shown
        assert picture.stat().st_size < 100_000
