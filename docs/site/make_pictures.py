"""Take the pictures of the documentation again: `python docs/site/make_pictures.py`; needs Chromium, some seconds.

The pages are those that the blocks of docs/tutorials/completions.md write, and the study that `make demo` runs, from
its committed record. So a picture shows what a reader of the page gets.
"""

import io
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import sync_playwright

from sftkey_train.study.report.study_report import report_study

ROOT = Path(__file__).resolve().parents[2]
OUT = ROOT / "docs" / "pictures"
CHROMIUM = "/usr/bin/chromium"
_BLOCK = re.compile(r"^```(python|sh)\n(.*?)^```$", re.M | re.S)


def main() -> None:
    """Write every picture."""
    OUT.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as name, sync_playwright() as started:
        folder = Path(name)
        _run_blocks(ROOT / "docs" / "tutorials" / "completions.md", folder)
        report_study(ROOT / "benchmarks" / "results" / "study" / "demo.json.gz", folder / "study")
        chromium = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        runs = folder / "runs"
        _take(chromium, runs / "report" / "report.html", "report", height=780)
        _take(chromium, runs / "compare" / "compare.html", "example", height=900, part=".example")
        _take(chromium, runs / "index" / "index.html", "index", height=620)
        _take(chromium, folder / "study" / "study.html", "study", height=780)
        chromium.close()


def _run_blocks(page: Path, folder: Path) -> None:
    programs = {"python": [sys.executable, "-c"], "sh": ["bash", "-euo", "pipefail", "-c"]}
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    for language, source in _BLOCK.findall(page.read_text(encoding="utf-8")):
        command = [*programs[language], source]
        subprocess.run(command, cwd=folder, env=os.environ | {"PATH": path}, check=True, capture_output=True)


def _take(chromium: Any, path: Path, name: str, *, height: int, part: str | None = None) -> None:
    page = chromium.new_page(viewport={"width": 1280, "height": height}, color_scheme="light")
    page.goto(path.as_uri())
    page.wait_for_load_state("networkidle")
    if part:
        page.wait_for_selector(part)
        page.evaluate("document.querySelector('.bar-top').remove()")  # it would lie over the part
    taken = page.locator(part).first.screenshot() if part else page.screenshot()
    Image.open(io.BytesIO(taken)).convert("RGB").save(OUT / f"{name}.webp", quality=80, method=6)
    page.close()


if __name__ == "__main__":
    main()
