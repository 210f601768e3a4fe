"""Names of a package that are imported when they are first asked for, so that importing the package stays light."""

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

from sftkey_data.extras import require


def lazy_names(
    package: str,
    modules: Mapping[str, tuple[str, ...]],
    *,
    extra: str | None = None,
    needs: tuple[str, ...] = (),
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """The `__getattr__` and `__dir__` of a package (PEP 562).

    Args:
        package: Its name.
        modules: Modules of it, and which names each defines.
        extra: What to install for them.
        needs: What that extra installs, asked for before anything is imported.
    """
    places = {name: f"{package}.{module}" for module, names in modules.items() for name in names}

    def get(name: str) -> Any:
        if name not in places:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        if extra is not None:
            require(f"{package}.{name}", extra, *needs)
        return getattr(import_module(places[name]), name)

    def names() -> list[str]:
        return sorted({*vars(import_module(package)), *places})

    return get, names
