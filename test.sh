#!/usr/bin/env bash
# Sets everything up, then checks format, lint, types and rooms, and runs every test.
# Arguments go to pytest: ./test.sh -k points
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/setup/environment.sh"
set_up setup/requirements-test.txt
cd "$ROOT"
echo "format and lint"
ruff format --check .
ruff check .
echo "types"
mypy
echo "rooms"
# The source tree's own package, not the installed one.
PYTHONPATH=$ROOT lint-imports --no-logo --no-cache
echo "tests"
# A sourced ROS brings plugins that are written for another pytest; the tests need none.
export PYTEST_DISABLE_PLUGIN_AUTOLOAD=1
# Two processes: tests over ROS wait for each other's answers most of their time. One file stays in
# one process, which shares fixtures, and the longest files come first (test/conftest.py).
# Away from the source tree's own package: what is tested is what was installed.
exec pytest -p xdist.plugin --numprocesses "${TEST_PROCESSES:-2}" --dist loadfile \
  --no-loadscope-reorder "$@"
