# Sourced by ./demo and ./test.sh: creates or updates the environment .venv, and enters it.
#
# Each step writes a stamp file with a hash of its inputs, and runs again only when they change. If
# ROS 2 is installed from apt, or is sourced, that ROS is used. Otherwise ROS 2 is installed from
# wheels; ROS_DISTRO chooses the distribution, jazzy or kilted.

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
VENV=$ROOT/.venv
LOG=$VENV/setup.log

IDENTITY='import os, sys; print(sys.version_info[:3], os.path.realpath(sys.base_prefix))'

fail() {
  printf '%s\n' "$*" >&2
  exit 1
}

find_python() {
  # ROS from apt is compiled for the system's Python. Without it, Python 3.11 or 3.12 is used.
  local candidate
  for candidate in ${PYTHON:-} ${ROS_PREFIX:+/usr/bin/python3} python3.12 python3.11 python3; do
    if "$candidate" -c 'import sys; sys.exit(sys.version_info[:2] not in [(3, 11), (3, 12)])' \
      2>/dev/null && { [ -z "$ROS_PREFIX" ] || "$candidate" -c 'import rclpy' 2>/dev/null; }; then
      command -v "$candidate"
      return
    fi
  done
  local found
  found=$(python3 --version 2>/dev/null) || found=${found:-none}
  fail "Python 3.11 or 3.12 is needed${ROS_PREFIX:+ with the rclpy of $ROS_PREFIX}, but" \
    "$found was found; apt install python3.11 python3.11-venv, or name one: PYTHON=/path/to/python3.12"
}

find_ros() {
  # Prints the folder of a sourced ROS, else of a ROS from apt in /opt/ros, else nothing. A folder
  # with pyvenv.cfg is a Python environment with ROS from wheels, as .venv may be.
  local prefix prefixes
  IFS=: read -r -a prefixes <<<"${AMENT_PREFIX_PATH:-}"
  for prefix in "${prefixes[@]}"; do
    if [ -d "$prefix/share/rclpy" ] && [ ! -f "$prefix/pyvenv.cfg" ]; then
      echo "$prefix"
      return
    fi
  done
  local candidates=("/opt/ros/${ROS_DISTRO:-jazzy}")
  [ -n "${ROS_DISTRO:-}" ] || candidates+=(/opt/ros/*)
  for prefix in "${candidates[@]}"; do
    if [ -f "$prefix/setup.bash" ]; then
      echo "$prefix"
      return
    fi
  done
}

source_ros() {
  # A ROS that is sourced already is used, even if ROS_DISTRO names another.
  local requested=${ROS_DISTRO:-}
  set +u # ROS's own scripts read unset variables
  # shellcheck disable=SC1091
  . "$ROS_PREFIX/setup.bash"
  set -u
  [ "${requested:-${ROS_DISTRO:-}}" = "${ROS_DISTRO:-}" ] ||
    fail "ROS_DISTRO is '$requested', but the ROS in force is '$ROS_DISTRO' in $ROS_PREFIX; unset" \
      "ROS_DISTRO, or start in a shell where that ROS is not sourced"
}

choose_wheels() {
  # Sets the list of wheels for the distribution that ROS_DISTRO names.
  local known
  ROS_WHEELS=${ROS_DISTRO:-jazzy}
  ROS_LIST=$ROOT/setup/requirements-ros-$ROS_WHEELS.txt
  known=$(cd "$ROOT/setup" && echo requirements-ros-*.txt)
  known=${known//requirements-ros-/}
  [ -f "$ROS_LIST" ] ||
    fail "ROS_DISTRO is '$ROS_WHEELS', but that ROS is not in /opt/ros, and wheels are listed for" \
      "these alone: ${known//.txt/}; take one of them, or unset ROS_DISTRO"
}

check_machine() {
  command -v c++ >/dev/null || command -v g++ >/dev/null || command -v clang++ >/dev/null ||
    fail "A C++ compiler is needed to build the message types: apt install g++"
  command -v git >/dev/null || fail "git is needed: apt install git"
  "$PY" -c 'import venv, ensurepip' 2>/dev/null ||
    fail "Python's venv module is missing: apt install python3-venv (or python3.11-venv)"
  "$PY" -c 'import os, sys, sysconfig
sys.exit(not os.path.isfile(os.path.join(sysconfig.get_path("include"), "Python.h")))' ||
    fail "Python's headers are needed to build the message types: apt install python3-dev" \
      "(or python3.11-dev)"
}

hash_of() { cat "$@" | sha256sum | cut -d ' ' -f 1; }

step() { # arguments: name, hash of the inputs, command
  local name=$1 hash=$2 start=$SECONDS
  shift 2
  local stamp=$VENV/stamps/$name
  [ "$(cat "$stamp" 2>/dev/null)" = "$hash" ] && return
  printf '  %-34s' "$name ..." >&2
  # A background job ignores Ctrl-C, so the trap below kills it.
  set -m
  "$@" >>"$LOG" 2>&1 </dev/null &
  local job=$! ticks=0
  set +m
  # shellcheck disable=SC2064
  trap "kill -- -$job 2>/dev/null; printf ' stopped\n' >&2; exit 130" INT TERM HUP
  while kill -0 "$job" 2>/dev/null; do
    sleep 1
    ticks=$((ticks + 1))
    [ $((ticks % 5)) -ne 0 ] || printf '.' >&2
  done
  wait "$job" || {
    printf ' failed\n' >&2
    tail -n 15 "$LOG" >&2
    fail "Set-up failed at \"$name\"; the complete log is $LOG"
  }
  trap - INT TERM HUP
  printf '%s' "$hash" >"$stamp"
  printf ' %d s\n' $((SECONDS - start)) >&2
}

can_keep_venv() {
  # Whether .venv has the chosen interpreter, the access to the system's packages that ROS needs,
  # and was not moved.
  local system=false
  [ -z "$ROS_PREFIX" ] || system=true
  grep -qi "^include-system-site-packages = $system" "$VENV/pyvenv.cfg" 2>/dev/null &&
    [ "$("$VENV/bin/python" -c "$IDENTITY" 2>/dev/null)" = "$("$PY" -c "$IDENTITY")" ] &&
    [[ $(head -n 1 "$VENV/bin/pip" 2>/dev/null) = "#!$VENV/bin/python"* ]]
}

make_venv() {
  # The build folder has paths of the old environment, or of the folder in which it was before.
  rm -rf "$VENV/stamps" "$ROOT"/build/pip-*
  # An environment that the user made is kept if possible; later steps install what it lacks. venv's
  # --clear is not used, because it would delete the log of this step.
  can_keep_venv || find "$VENV/" -mindepth 1 -maxdepth 1 ! -name "${LOG##*/}" -exec rm -rf {} +
  # ROS from apt is in the system's site-packages, ROS from wheels in the environment.
  "$PY" -m venv ${ROS_PREFIX:+--system-site-packages} "$VENV"
  [ -z "$ROS_PREFIX" ] || complete_activate
  mkdir -p "$VENV/stamps"
  "$VENV/bin/python" -m pip install --upgrade pip 'setuptools>=65' wheel
}

profiles_variable() {
  # Prints the variable that names Fast DDS's profiles; Fast DDS 3, of Kilted, has a new name.
  [ -d "${ROS_PREFIX:-$VENV}/share/fastdds" ] && echo FASTDDS_DEFAULT_PROFILES_FILE ||
    echo FASTRTPS_DEFAULT_PROFILES_FILE
}

complete_activate() {
  # Lets `. .venv/bin/activate` source a ROS from apt too. With ROS from wheels, a .pth file sets
  # these variables in every Python of the environment (clip_surgery_ros/ros/wheels.py).
  cat >>"$VENV/bin/activate" <<END

# ROS, and this environment as its overlay:
[ ! -f "$ROS_PREFIX/setup.sh" ] || . "$ROS_PREFIX/setup.sh"
export AMENT_PREFIX_PATH="$VENV\${AMENT_PREFIX_PATH:+:\$AMENT_PREFIX_PATH}"
export LD_LIBRARY_PATH="$VENV/lib\${LD_LIBRARY_PATH:+:\$LD_LIBRARY_PATH}"
export $(profiles_variable)="\${$(profiles_variable):-$ROOT/config/fastdds.xml}"
END
}

install_file() {
  "$VENV/bin/python" -m pip install -r "$1" \
    ${ROS_PREFIX:+-c "$ROOT/setup/constraints-apt.txt"}
}

remove_other_ros() {
  # Wheels of two distributions would overwrite each other's files.
  local installed
  installed=$("$VENV/bin/python" -m pip freeze | sed -n 's/^\(ros-[^ =]*\).*/\1/p')
  grep -q '^ros-[a-z]*-rclpy$' <<<"$installed" || return 0
  grep -qx "ros-$ROS_WHEELS-rclpy" <<<"$installed" && return
  # shellcheck disable=SC2086
  "$VENV/bin/python" -m pip uninstall --yes clip_surgery_ros $installed
}

install_build_tools() {
  if [ -z "$ROS_PREFIX" ]; then
    remove_other_ros
    install_file "$ROS_LIST"
  fi
  command -v cmake >/dev/null && command -v make >/dev/null ||
    "$VENV/bin/python" -m pip install 'cmake>=3.20' ninja
}

install_package() {
  cd "$ROOT" && "$VENV/bin/python" -m pip install --no-build-isolation --no-deps .
}

source_hash() {
  cd "$ROOT" && find CMakeLists.txt package.xml setup.py pyproject.toml setup cmake underlay \
    msg srv launch config clip_surgery_ros -type f ! -name '*.pyc' -print0 |
    sort -z | xargs -0 sha256sum | sha256sum | cut -d ' ' -f 1
}

enter() {
  # The environment has the layout of a ROS prefix.
  export PATH="$VENV/bin:$PATH" VIRTUAL_ENV="$VENV"
  export AMENT_PREFIX_PATH="$VENV${AMENT_PREFIX_PATH:+:$AMENT_PREFIX_PATH}"
  export CMAKE_PREFIX_PATH="$VENV${CMAKE_PREFIX_PATH:+:$CMAKE_PREFIX_PATH}"
  export LD_LIBRARY_PATH="$VENV/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
  # Ninja only if there is no make: a build folder cannot change from one to the other.
  command -v make >/dev/null || export CMAKE_GENERATOR=Ninja
  # In this folder `python -m` would find the sources, which lack the message types, before the
  # installed package.
  export PYTHONSAFEPATH=1
  export "$(profiles_variable)=$ROOT/config/fastdds.xml"
}

set_up() { # arguments: further requirement files, from the root of the repository
  ROS_PREFIX=$(find_ros)
  [ ! -f "$ROS_PREFIX/setup.bash" ] || source_ros
  ROS_WHEELS='' ROS_LIST=''
  [ -n "$ROS_PREFIX" ] || choose_wheels
  PY=$(find_python) || exit 1
  check_machine
  mkdir -p "$VENV/stamps"
  [ -f "$VENV/stamps/environment" ] ||
    printf 'Setting up %s (once; 3 to 10 minutes, mostly PyTorch):\n' "$VENV" >&2
  step environment "$PY ${ROS_PREFIX:-$ROS_WHEELS} $VENV" make_venv
  step "PyTorch, CLIP and SAM" \
    "$(hash_of "$ROOT/setup/requirements.txt" "$ROOT/setup/constraints-apt.txt")" \
    install_file "$ROOT/setup/requirements.txt"
  step "ROS 2 and build tools" "$(hash_of "${ROS_LIST:-/dev/null}")" install_build_tools
  local extra
  for extra in "$@"; do
    # rerun-sdk and setup/constraints-apt.txt want different numpys.
    [ -z "$ROS_PREFIX" ] || [ "$(basename "$extra")" != requirements-rerun.txt ] || continue
    step "$(basename "$extra" .txt)" "$(hash_of "$ROOT/$extra")" install_file "$ROOT/$extra"
  done
  enter
  step "messages and node" "$(source_hash)" install_package
}
