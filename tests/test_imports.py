"""The house's rules of who may import whom, read from the source."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "kimi_mitm"

ENGINE = {"engine", "sessions", "fusion", "archive", "store", "control", "tokens", "logs", "cli", "doctor"}
ENGINE |= {"draft", "events", "prices"}
"""What runs in the engine, or on a command line: none of it belongs into mitmproxy's process."""

MITMPROXY = {"addon", "options", "running_file", "launch.guest", "views.contentview", "views.flow_file"}
MITMPROXY |= {"views.annotator", "views.commands", "proxy.lean", "proxy.unread", "proxy.control_host"}
"""The only modules that may import mitmproxy when they are loaded."""

LAYERS = (
    ("__main__", "cli", "doctor", "launch"),
    ("addon", "options", "proxy", "views"),
    ("engine",),
    ("control", "archive"),
    ("store",),
    ("sessions", "fusion"),
    ("logs", "tokens"),
    ("prompts", "wire"),
)
"""The packages from the top down: each may import what stands below it, and what stands in no package."""

PURE = {
    *("records", "recognise", "providers", "clients", "prices", "redact", "shapes", "answers", "verdict"),
    *(
        "fields",
        "headers",
        "render",
        "draft",
        "sieve",
        "exchange_id",
        "proxy.gate",
        "proxy.recent",
        "accuracy",
    ),
    *("sessions", "fusion", "wire", "prompts", "tokens", "logs"),
}
"""Modules and packages that have no loop, no clock, no mitmproxy, no database."""
IMPURE_PARTS = {"logs.follow", "logs.watch", "logs.find", "logs.sqlite", "logs.tail", "logs.history"}
IMPURE_PARTS |= {"logs.collect"}
"""The parts of pure packages that do the reading of files."""
NOT_PURE = ("asyncio", "mitmproxy", "sqlalchemy", "subprocess", "socket")
CLOCKS = {("time", "time"), ("datetime", "now"), ("datetime", "utcnow"), ("date", "today")}


def modules() -> dict[str, Path]:
    """Every module of the package by its name below it (`wire.sse`; a package by its own name)."""
    found = {}
    for path in PACKAGE.rglob("*.py"):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        if "migrations" in parts:
            continue
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    del found[""]
    return found


MODULES = modules()


def loaded(tree: ast.AST) -> Iterator[ast.stmt]:
    """The import statements that run when a module is loaded: not in functions, not for type checkers."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield node
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            continue
        elif not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            yield from loaded(node)


def imports(name: str) -> set[str]:
    """Full names of what a module imports when it is loaded."""
    found = set()
    for node in loaded(ast.parse(MODULES[name].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name} has a relative import"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def ours(name: str) -> set[str]:
    """The modules of the package that a module imports when it is loaded."""
    found = set()
    for full in imports(name):
        if not full.startswith("kimi_mitm."):
            continue
        short = full.removeprefix("kimi_mitm.")
        while short and short not in MODULES:
            short = short.rpartition(".")[0]
        if short and short != name:
            found.add(short)
    return found


GRAPH = {name: ours(name) for name in MODULES}


def reachable(names: set[str]) -> set[str]:
    """These modules and all that they load, packages above them included."""
    found: set[str] = set()
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        found.add(name)
        waiting += GRAPH[name]
        if "." in name:
            waiting.append(name.rpartition(".")[0])
    return found


def below(name: str, roots: set[str]) -> bool:
    return any(name == root or name.startswith(f"{root}.") for root in roots)


def test_the_recorder_does_not_load_the_engine():
    assert [name for name in reachable({"addon"}) if below(name, ENGINE)] == []
    assert {"proxy.hooks", "proxy.recorder", "proxy.child", "views.annotator"} <= reachable({"addon"})


def test_the_engine_does_not_load_the_recorder():
    inside = {"addon", "options", "proxy", "views"}

    engine = {name for name in MODULES if below(name, {"engine"})}
    assert [name for name in reachable(engine) if below(name, inside)] == []
    assert "engine.desk" in engine


def test_loading_the_addon_loads_nothing_heavy():
    script = (
        "import sys, mitmproxy.tools.main, mitmproxy.tools.dump; before = set(sys.modules); "
        "import kimi_mitm.addon; print('\\n'.join(set(sys.modules) - before))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT, timeout=120
    )
    tops = {name.partition(".")[0] for name in done.stdout.split()}

    heavy = {"fastapi", "starlette", "uvicorn", "sqlalchemy", "aiosqlite", "tiktoken", "pydantic", "httpx"}
    assert tops & (heavy | {"genai_prices", "alembic", "prometheus_client", "rich", "typer"}) == set()
    assert "kimi_mitm" in tops


def test_only_these_modules_load_mitmproxy():
    found = {name for name in MODULES if any(full.split(".")[0] == "mitmproxy" for full in imports(name))}

    assert found - MITMPROXY - {name for name in found if below(name, {"cli"})} == set()


def test_imports_go_one_way():
    state: dict[str, int] = {}
    path: list[str] = []

    def visit(name: str) -> None:
        state[name] = 1
        path.append(name)
        for other in sorted(GRAPH[name]):
            if state.get(other) == 1 and other != name.rpartition(".")[0]:
                raise AssertionError(" → ".join([*path[path.index(other) :], other]))
            if other not in state:
                visit(other)
        path.pop()
        state[name] = 2

    for name in sorted(GRAPH):
        if name not in state:
            visit(name)


@pytest.mark.parametrize(
    ("package", "above"),
    [
        (package, {name for upper in LAYERS[:depth] for name in upper})
        for depth, layer in enumerate(LAYERS)
        for package in layer
    ],
)
def test_a_package_imports_none_that_stands_above_it(package, above):
    inside = {name for name in MODULES if below(name, {package})}

    assert inside
    assert {(name, other) for name in inside for other in GRAPH[name] if below(other, above)} == set()


@pytest.mark.parametrize("name", sorted(n for n in MODULES if below(n, PURE) and n not in IMPURE_PARTS))
def test_a_pure_module_has_no_loop_and_no_clock(name):
    tree = ast.parse(MODULES[name].read_text(encoding="utf-8"))
    tops = {full.split(".")[0] for full in imports(name)}
    calls = {
        (node.func.value.id, node.func.attr)
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and isinstance(node.func.value, ast.Name)
    }

    assert tops.isdisjoint(NOT_PURE)
    assert calls.isdisjoint(CLOCKS)
    assert not any(isinstance(node, ast.AsyncFunctionDef) for node in ast.walk(tree))


def test_the_rules_name_modules_that_there_are():
    known = set(MODULES) | {name.partition(".")[0] for name in MODULES}

    assert known >= PURE | MITMPROXY | (ENGINE - {"cli"})
    assert set(MODULES) >= IMPURE_PARTS
