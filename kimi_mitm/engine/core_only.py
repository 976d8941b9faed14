"""SQLAlchemy without its ORM: its asyncio package imports it for classes that nothing here uses, and it is
6 MB and a fifth of the time that loading SQLAlchemy takes."""

from __future__ import annotations

import sys
from contextlib import suppress
from importlib import import_module
from types import ModuleType
from typing import Any

_PACKAGE = "sqlalchemy.ext.asyncio"
_UNUSED = (f"{_PACKAGE}.scoping", f"{_PACKAGE}.session")


class _Placeholder(ModuleType):
    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (), {"__module__": self.__name__})


def leave_out_orm() -> None:
    """Imports SQLAlchemy's asyncio package with empty classes for its sessions, unless it is there already.

    Their modules can still be imported afterwards. Where the package is made in some other way one day,
    it is imported as it is.
    """
    if _PACKAGE in sys.modules or any(name in sys.modules for name in _UNUSED):
        return
    sys.modules.update({name: _Placeholder(name) for name in _UNUSED})
    try:
        with suppress(Exception):
            import_module(_PACKAGE)
    finally:
        for name in _UNUSED:
            del sys.modules[name]
