"""The Python interface of the three packages is there, light to import, and known to type checkers."""

import ast
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

import sftkey_data
import sftkey_eval
import sftkey_train
import sftkey_train.trl
from sftkey_data.errors import SFTKeyError
from sftkey_data.interface.lazy_names import lazy_names

PACKAGES = (sftkey_data, sftkey_eval, sftkey_train, sftkey_train.trl)
ROOT = Path(__file__).resolve().parents[2]


def python(code: str) -> str:
    path = f"import sys; sys.path[:0] = {[str(ROOT), str(ROOT / 'train')]}\n"
    done = subprocess.run([sys.executable, "-c", path + code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_importing_the_packages_loads_nothing_heavy() -> None:
    code = "import json; before = set(sys.modules); import sftkey_data, sftkey_eval, sftkey_train\n"
    loaded = json.loads(python(code + "print(json.dumps(sorted(set(sys.modules) - before)))"))
    ours = {name for name in loaded if name.startswith("sftkey_")}
    own = {
        "sftkey_data",
        "sftkey_data.interface",
        "sftkey_data.interface.lazy_names",
        "sftkey_data.extras",
        "sftkey_data.errors",
    }
    assert ours == own | {"sftkey_eval", "sftkey_train"}
    assert not {"numpy", "pydantic", "typer", "pyarrow", "pandas", "torch"} & set(loaded)


@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package.__name__)
def test_every_name_is_there_and_says_what_it_is(package: ModuleType) -> None:
    for name in package.__all__:
        found = getattr(package, name)
        assert found.__doc__, name
        assert name in dir(package)


def test_another_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match=r"module 'sftkey_data' has no attribute 'bild'"):
        sftkey_data.bild  # noqa: B018
    assert not hasattr(sftkey_eval, "scroe")


def test_what_is_not_installed_is_named_with_its_extra() -> None:
    get, _ = lazy_names("sftkey_eval", {"api": ("score",)}, extra="eval", needs=("json", "no_such_module"))
    with pytest.raises(SFTKeyError, match=r'sftkey_eval.score needs no_such_module, .*"sftkey\[eval\]"'):
        get("score")


@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package.__name__)
def test_type_checkers_are_told_the_same_names(package: ModuleType) -> None:
    tree = ast.parse(Path(str(package.__file__)).read_text("utf-8"))
    told = next(node for node in tree.body if isinstance(node, ast.If))
    imported = [alias.name for line in told.body if isinstance(line, ast.ImportFrom) for alias in line.names]
    assert sorted(imported) == sorted(package.__all__)
