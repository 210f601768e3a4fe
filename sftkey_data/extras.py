"""What needs an optional extra says so before it starts."""

from importlib.util import find_spec

from sftkey_data.errors import SFTKeyError


def require(what: str, extra: str, *modules: str) -> None:
    """Refuse to start without the modules that an extra installs; nothing is imported.

    Raises:
        SFTKeyError: Names what is missing and how to install it.
    """
    if missing := [name for name in modules if find_spec(name) is None]:
        raise SFTKeyError(f'{what} needs {", ".join(missing)}, not installed: pip install "sftkey[{extra}]"')


def check_engine(name: str) -> str:
    """The engine's name, which is one, and installed.

    Raises:
        SFTKeyError: Neither `local` nor `ray`, or the extra `ray` is not installed.
    """
    if name not in ("local", "ray"):
        raise SFTKeyError(f"--engine {name!r}: expected `local` or `ray`")
    if name == "ray":
        require("--engine ray", "ray", "ray")
    return name
