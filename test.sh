#!/usr/bin/env bash
# Sets everything up, then checks format, lint, types and rooms, and runs every test.
# Arguments go to pytest: ./test.sh -k points
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/setup/environment.sh"
set_up setup/requirements-world.txt setup/requirements-web.txt setup/requirements-rerun.txt \
  setup/requirements-search.txt setup/requirements-test.txt
cd "$ROOT"
echo "format and lint"
ruff format --check .
ruff check .
echo "types"
mypy
echo "rooms"
# This checks the imports of the source tree, not of the installed package.
PYTHONPATH=$ROOT lint-imports --no-logo --no-cache
echo "tests"
# Plugins of a sourced ROS are written for another version of pytest. The tests need no plugins but
# xdist.
export PYTEST_DISABLE_PLUGIN_AUTOLOAD=1
# Two processes, because tests over ROS wait most of their time. The tests of a file share fixtures,
# so they stay in one process; the longest files come first (test/conftest.py). The tests import the
# installed package, because set_up sets PYTHONSAFEPATH.
exec pytest -p xdist.plugin --numprocesses "${TEST_PROCESSES:-2}" --dist loadfile \
  --no-loadscope-reorder "$@"
