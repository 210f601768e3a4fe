"""The house keeps its shape: small folders, one name for one file, one meaning for one public name.

Who may import whom is not tested here, but by import-linter; see `.importlinter` and `docs/architecture.md`.
"""

import ast
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = (ROOT / "sftkey", ROOT / "sftkey_data", ROOT / "sftkey_eval", ROOT / "train" / "sftkey_train")
ONE_FILE_A_DATASET = ROOT / "sftkey_data" / "datasets"
MAX_FILES = 15
MAX_LINES = 320
DOORS = {"api.py", "cli.py"}
"""Of a package, for Python and for the shell: their functions bear the names of what they call."""
COMMON_FILES = {"__init__.py", *DOORS, "conftest.py"}
COMMON_NAMES = {"T", "app", "main"}
"""A type variable, and what every program has."""


def modules() -> Iterator[Path]:
    for package in PACKAGES:
        yield from package.rglob("*.py")


def test_no_folder_is_a_warehouse() -> None:
    folders = Counter(path.parent for path in [*modules(), *(ROOT / "tests").rglob("*.py")])
    assert {f: n for f, n in folders.items() if n > MAX_FILES and f != ONE_FILE_A_DATASET} == {}


def test_no_two_files_have_one_name() -> None:
    code = Counter(path.name for path in modules())
    tests = Counter(path.name for path in (ROOT / "tests").rglob("*.py"))
    assert {name for names in (code, tests) for name, n in names.items() if n > 1} <= COMMON_FILES


def test_no_file_is_long() -> None:
    lengths = {path: len(path.read_text("utf-8").splitlines()) for path in modules()}
    assert {path: n for path, n in lengths.items() if n > MAX_LINES} == {}


def public_names(path: Path) -> Iterator[str]:
    for node in ast.parse(path.read_text("utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.Assign):
            yield from (target.id for target in node.targets if isinstance(target, ast.Name))
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            yield node.target.id


def test_no_public_name_stands_for_two_things() -> None:
    """A door's function may bear the name of what it calls; dataset files share their interface."""
    places = defaultdict(list)
    for path in modules():
        if path.name not in DOORS and ONE_FILE_A_DATASET not in path.parents:
            for name in {name for name in public_names(path) if not name.startswith("_")} - COMMON_NAMES:
                places[name].append(path.relative_to(ROOT))
    assert {name: found for name, found in places.items() if len(found) > 1} == {}


def test_every_room_says_what_it_holds_in_one_sentence() -> None:
    for package in PACKAGES:
        for room in package.rglob("__init__.py"):
            doc = ast.get_docstring(ast.parse(room.read_text("utf-8")))
            assert doc, room
            assert "\n\n" not in doc, room


def loads_without_a_word(path: Path) -> Iterator[int]:
    """Lines that load something of transformers and leave open whether code that comes with it may run."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and isinstance(node.func.value, ast.Name)
        ):
            is_load = node.func.attr in ("from_pretrained", "from_config") and node.func.value.id.startswith("Auto")
            if is_load and "trust_remote_code" not in {keyword.arg for keyword in node.keywords}:
                yield node.lineno


def test_whatever_is_loaded_is_told_whether_its_code_may_run() -> None:
    """Where nothing is said, transformers asks on the terminal, and `yes |` answers."""
    files = [*modules(), *(ROOT / "benchmarks").glob("*.py")]
    assert {path: lines for path in files if (lines := [*loads_without_a_word(path)])} == {}
