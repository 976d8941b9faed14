# Makes .venv in the project's root: sourced by the other scripts. Needs some Python >= 3.12 and nothing else.
# usage: environment runtime|dev

find_python() {
  local candidate
  for candidate in "${PYTHON:-}" \
    python3.14 python3.13 python3.12 python3 \
    "${PYENV_ROOT:-$HOME/.pyenv}"/versions/3.1[2-9]*/bin/python3 \
    "${UV_PYTHON_INSTALL_DIR:-${XDG_DATA_HOME:-$HOME/.local/share}/uv/python}"/cpython-3.1[2-9]*/bin/python3 \
    /opt/homebrew/bin/python3.1[2-9] /usr/local/bin/python3.1[2-9]; do
    [ -n "$candidate" ] || continue
    if "$candidate" -c 'import sys, venv; sys.exit(not ((3, 12) <= sys.version_info[:2] < (3, 15)))' >/dev/null 2>&1; then
      printf '%s\n' "$candidate"
      return 0
    fi
  done
  echo "kimi-mitm needs Python 3.12 or newer: not on PATH, nor in pyenv's or uv's folders. Set PYTHON=/path/to/python3." >&2
  return 1
}

install_with_uv() {
  command -v uv >/dev/null 2>&1 || return 1
  local install=(uv --native-tls pip install --quiet --python "$ROOT/.venv/bin/python")
  "${install[@]}" --require-hashes -r "$ROOT/$1" 2>/dev/null && "${install[@]}" --no-deps -e "$ROOT" 2>/dev/null
}

install_with_pip() {
  local python=$ROOT/.venv/bin/python
  "$python" -m pip --version >/dev/null 2>&1 || "$python" -m ensurepip --upgrade >/dev/null || return 1
  local install=("$python" -m pip install --quiet --disable-pip-version-check)
  "${install[@]}" --require-hashes -r "$ROOT/$1" && "${install[@]}" --no-deps -e "$ROOT"
}

environment() {
  local kind=$1 lock=requirements.lock stamp want python
  [ "$kind" = dev ] && lock=requirements-dev.lock
  stamp=$ROOT/.venv/.kimi-installed
  want="$kind $(cat "$ROOT/requirements.lock" "$ROOT/requirements-dev.lock" "$ROOT/pyproject.toml" | cksum)"
  if [ -x "$ROOT/.venv/bin/python" ] && [ -f "$stamp" ]; then
    [ "$(cat "$stamp")" = "$want" ] && return 0
    [ "$kind" = runtime ] && [ "$(cat "$stamp")" = "dev ${want#runtime }" ] && return 0
  fi
  if [ ! -x "$ROOT/.venv/bin/python" ]; then
    python=$(find_python) || return 1
    echo "making .venv with $("$python" --version)" >&2
    "$python" -m venv "$ROOT/.venv" || return 1
  fi
  echo "installing what $lock names (once)" >&2
  install_with_uv "$lock" || install_with_pip "$lock" || return 1
  printf '%s\n' "$want" >"$stamp"
}
