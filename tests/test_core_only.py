"""The engine uses SQLAlchemy's core and does not load its ORM."""

from __future__ import annotations

import subprocess
import sys

LEFT_OUT = """
import sys
from kimi_mitm.engine.core_only import leave_out_orm
leave_out_orm()
import kimi_mitm.engine.desk
assert not [name for name in sys.modules if name.startswith("sqlalchemy.orm")]
"""
AFTER_ALL = """
from sqlalchemy.ext.asyncio.session import AsyncSession
from sqlalchemy.orm import Session
assert AsyncSession.sync_session_class is Session
import alembic.command
"""
TOO_LATE = """
from sqlalchemy.ext.asyncio import AsyncSession
from kimi_mitm.engine.core_only import leave_out_orm
leave_out_orm()
from sqlalchemy.ext.asyncio.session import AsyncSession as same
assert AsyncSession is same
"""
ELSEWHERE = """
import sys
from kimi_mitm.engine import core_only
core_only._UNUSED = ("sqlalchemy.ext.asyncio.base",)
core_only.leave_out_orm()
from sqlalchemy.ext.asyncio import create_async_engine
create_async_engine("sqlite+aiosqlite:///nowhere")
"""
ENGINE = """
import sys
import kimi_mitm.engine.loop
assert "sqlalchemy" not in sys.modules
"""


def runs(code: str) -> None:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


def test_the_orm_is_not_loaded_with_the_engine() -> None:
    runs(LEFT_OUT)


def test_the_engine_s_own_module_loads_nothing_of_it_first() -> None:
    runs(ENGINE)


def test_it_can_be_loaded_later() -> None:
    runs(LEFT_OUT + AFTER_ALL)


def test_what_is_loaded_already_stays() -> None:
    runs(TOO_LATE)


def test_a_package_that_needs_what_is_left_out_is_imported_whole() -> None:
    runs(ELSEWHERE)
