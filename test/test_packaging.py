"""Installation from CMakeLists.txt with colcon build and with pip install."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from clip_surgery_ros.tools.cli import SUBCOMMANDS

ROOT = Path(__file__).resolve().parent.parent
SOURCES = (
    "CMakeLists.txt", "LICENSE", "package.xml", "pyproject.toml", "setup.py",
    "cmake", "clip_surgery_ros", "config", "launch", "msg", "setup", "srv", "underlay",
)  # fmt: skip
EXECUTABLES = {
    *("clip_surgery_node", "clip_surgery_rerun", "clip_surgery_web", "demo_camera"),
    *SUBCOMMANDS,
}

pytestmark = pytest.mark.slow


def run(command: str, cwd: Path, **environment: str) -> str:
    done = subprocess.run(
        ["bash", "-c", command],
        cwd=cwd,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-4000:]
    return done.stdout


def copy_sources(target: Path) -> Path:
    target.mkdir(parents=True)
    for name in SOURCES:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, target / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, target / name)
    return target


def from_wheels() -> str:
    """Return CMake's option for ROS from wheels; empty where ROS comes from apt."""
    if not (Path(sys.prefix) / "share" / "rclpy").is_dir():
        return ""
    return f"-DCMAKE_PROJECT_INCLUDE={ROOT / 'cmake' / 'wheels.cmake'}"


IMPORTS = """
import clip_surgery_ros.core.pipeline, clip_surgery_ros.node.node
from clip_surgery_ros.msg import SegmentArray
from clip_surgery_ros.srv import SetQuery
from tf2_msgs.msg import TFMessage
from vision_msgs.msg import Detection2DArray
from ament_index_python.packages import get_package_prefix
print(get_package_prefix("clip_surgery_ros"), clip_surgery_ros.node.node.__file__)
"""


def test_colcon_build_installs_a_ros_package(tmp_path: Path) -> None:
    copy_sources(tmp_path / "ws" / "src" / "clip_surgery_ros")
    underlay = "src/clip_surgery_ros/underlay"
    arguments = f"--cmake-args {from_wheels()} -DPython3_EXECUTABLE={sys.executable}"
    # Without the package and the underlay of this environment, as on a new machine.
    prefix = _bare_prefix(tmp_path / "bare")
    environment = {"AMENT_PREFIX_PATH": str(prefix), "CMAKE_PREFIX_PATH": str(prefix)}
    run(f"colcon build --base-paths src {underlay} {arguments}", tmp_path / "ws", **environment)
    printed = run(
        f"source install/setup.bash && cd /tmp && {sys.executable} -c '{IMPORTS}'",
        tmp_path / "ws",
        **environment,
    )
    install = tmp_path / "ws" / "install" / "clip_surgery_ros"
    prefix_printed, module = printed.split()[-2:]
    assert prefix_printed == str(install)
    assert module.startswith(str(install))
    check_layout(install)
    help_text = run(
        f"source install/setup.bash && {install}/lib/clip_surgery_ros/segment --help",
        tmp_path / "ws",
        **environment,
    )
    assert "segment" in help_text


def _bare_prefix(folder: Path) -> Path:
    """Link this environment's ROS into a folder, without clip_surgery_ros and the underlay."""
    if not from_wheels():
        return Path(os.environ["AMENT_PREFIX_PATH"].split(os.pathsep)[-1])
    prefix = Path(sys.prefix)
    folder.mkdir()
    for name in ("bin", "include", "lib"):
        (folder / name).symlink_to(prefix / name)
    (folder / "share").mkdir()
    ours = ("clip_surgery_ros", "vision_msgs", "tf2_msgs", "ament_index")
    for entry in (prefix / "share").iterdir():
        if entry.name not in ours:
            (folder / "share" / entry.name).symlink_to(entry)
    index = folder / "share" / "ament_index" / "resource_index"
    source = prefix / "share" / "ament_index" / "resource_index"
    for entry in source.glob("*/*"):
        if entry.name not in ours:
            (index / entry.parent.name).mkdir(parents=True, exist_ok=True)
            (index / entry.parent.name / entry.name).symlink_to(entry)
    return folder


def check_layout(prefix: Path) -> None:
    """Files are in the folders where `ros2 run`, `ros2 launch` and the ament index search."""
    executables = list((prefix / "lib" / "clip_surgery_ros").iterdir())
    assert {path.name for path in executables} == EXECUTABLES
    assert all(os.access(path, os.X_OK) for path in executables)
    share = prefix / "share" / "clip_surgery_ros"
    assert (share / "launch" / "clip_surgery.launch.py").is_file()
    for name in ("demo.yaml", "workstation.yaml", "fastdds.xml"):
        assert (share / "config" / name).is_file()
    marker = prefix / "share" / "ament_index" / "resource_index" / "packages" / "clip_surgery_ros"
    assert marker.is_file()


def build_wheel(target: Path, **environment: str) -> zipfile.ZipFile:
    """Build a wheel in the repository, with the build folder of this environment's installation:
    CMake compiles only what has changed since."""
    pip = f"{sys.executable} -m pip wheel --no-build-isolation --no-deps"
    run(f"{pip} -w {target} .", ROOT, **environment)
    (wheel,) = target.glob("*.whl")
    return zipfile.ZipFile(wheel)


def test_wheel_has_all_files_and_installs_where_ros_searches(tmp_path: Path) -> None:
    with build_wheel(tmp_path / "dist") as wheel:
        names = wheel.namelist()
        wheel_path = wheel.filename
    assert "clip_surgery_ros/core/pipeline.py" in names
    assert "clip_surgery_ros/weights/demo/clip_demo.safetensors" in names
    assert "clip_surgery_ros/world/assets/orbit/23_depth.png" in names
    assert "clip_surgery_ros/web/page/vendor/three.module.min.js" in names
    assert any(name.startswith("clip_surgery_ros/msg/_segment_array") for name in names)
    # ROS from wheels needs the .pth file, because no setup script is sourced.
    assert ("clip_surgery_ros.pth" in names) == bool(from_wheels())
    run(f"{sys.executable} -m venv --without-pip env", tmp_path)
    pip = f"{sys.executable} -m pip --python env/bin/python"
    run(f"{pip} install -q --no-deps {wheel_path}", tmp_path)
    check_layout(tmp_path / "env")
    for command in ("clip_surgery", *EXECUTABLES - {*SUBCOMMANDS}):
        assert os.access(tmp_path / "env" / "bin" / command, os.X_OK), command


def test_underlay_package_is_not_built_if_it_exists(tmp_path: Path) -> None:
    underlay = [path.name for path in (ROOT / "underlay").iterdir()]
    index = tmp_path / "ros" / "share" / "ament_index" / "resource_index" / "packages"
    index.mkdir(parents=True)
    for package in underlay:
        (index / package).touch()
    prefixes = os.pathsep.join([str(tmp_path / "ros"), os.environ.get("AMENT_PREFIX_PATH", "")])
    with build_wheel(tmp_path / "dist", AMENT_PREFIX_PATH=prefixes) as wheel:
        files = [name.split("/") for name in wheel.namelist()]
    assert not [path for path in files if set(underlay) & set(path)]
