"""Build the site of the documentation: `python docs/site/make_site.py [OUT]`; a warning makes it fail.

The Markdown files stay where they are, with links that work on a forge. The site is made of a copy of them, and of the
files that they link to, in the same folders; so the same links work there.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
HERE = ROOT / "docs" / "site"
PAGES = ("*.md", "docs/**/*.md", "train/recipes/*.md", "benchmarks/*.md", "benchmarks/results/study/*.md")
_LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)\s]*)?\)")


def main() -> None:
    """Build it, by default into `site`."""
    out = Path(sys.argv[1] if len(sys.argv) > 1 else ROOT / "site").resolve()
    with tempfile.TemporaryDirectory() as folder:
        stage(Path(folder) / "source")
        config = shutil.copy(HERE / "mkdocs.yml", folder)
        command = [sys.executable, "-m", "mkdocs", "build", "--strict"]
        quiet = os.environ | {"NO_MKDOCS_2_WARNING": "1"}  # an advertisement of the theme's
        done = subprocess.run([*command, "--config-file", config, "--site-dir", str(out)], env=quiet, check=False)
    sys.exit(done.returncode)


def stage(source: Path) -> None:
    """Copy the pages, and the files of the repository that they link to."""
    pages = [path for pattern in PAGES for path in sorted(ROOT.glob(pattern))]
    linked = {target for page in pages for target in _targets(page)}
    for path in {*pages, *linked, HERE / "site.css"}:
        copy = source / path.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, copy)


def _targets(page: Path) -> set[Path]:
    """Files of the repository that a page links to; what is no file there is left to the strict build."""
    targets = (page.parent / link for link in _LINK.findall(page.read_text(encoding="utf-8")) if ":" not in link)
    return {path.resolve() for path in targets if path.is_file() and path.resolve().is_relative_to(ROOT)}


if __name__ == "__main__":
    main()
