"""``pip install .`` beside ROS: drives the same CMakeLists.txt as colcon.

CMake installs into a staging prefix; its site-packages become the wheel's, and the rest (share/,
lib/, include/, the ament index) its data, which pip lays into the environment's prefix as the
ROS wheels' is. Packages of the underlay that are not found are built along.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from setuptools import Distribution, setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent
BUILD = ROOT / "build" / f"pip-{sys.implementation.cache_tag}"
STAGING = BUILD / "staging"
AT_START = "import clip_surgery_ros.ros.wheels; clip_surgery_ros.ros.wheels.enter()\n"
"""Run at the start of every Python of an environment with ROS from wheels."""
UNDERLAY = ("vision_msgs", "tf2_msgs")
"""Packages below ``underlay/``: messages in use that ROS from wheels lacks."""
BUILT_HERE = "built_by_clip_surgery_ros"
"""Marks an underlay that this file built, which is no reason not to build it again."""


def prefixes() -> list[Path]:
    """Where ROS packages are: sourced workspaces first, then this environment."""
    sourced = os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep)
    return [Path(p) for p in (*sourced, sys.prefix) if p]


def has_package(name: str) -> bool:
    """Is there a ROS package of this name, other than one that this very file built?"""
    marker = Path("share") / "ament_index" / "resource_index" / "packages" / name
    found = [prefix for prefix in prefixes() if (prefix / marker).is_file()]
    return any(not (prefix / "share" / name / BUILT_HERE).is_file() for prefix in found)


def ros_from_wheels() -> bool:
    """Whether ROS is in this environment itself."""
    return (Path(sys.prefix) / "share" / "rclpy").is_dir()


def cmake(source: Path, name: str) -> None:
    """Configure, build and install one CMake project into the staging prefix."""
    build = BUILD / name
    search = os.pathsep.join(str(p) for p in [STAGING, *prefixes()])
    env = {**os.environ, "AMENT_PREFIX_PATH": search, "CMAKE_PREFIX_PATH": search}
    options = [
        f"-DCMAKE_INSTALL_PREFIX={STAGING}",
        f"-DPython3_EXECUTABLE={sys.executable}",
        "-DBUILD_TESTING=OFF",
        "-DCMAKE_BUILD_TYPE=Release",
    ]
    if ros_from_wheels():
        options.append(f"-DCMAKE_PROJECT_INCLUDE={ROOT / 'cmake' / 'wheels.cmake'}")
    jobs = str(os.cpu_count() or 1)
    for command in (
        ["cmake", "-S", str(source), "-B", str(build), *options],
        ["cmake", "--build", str(build), "--parallel", jobs],
        ["cmake", "--install", str(build)],
    ):
        subprocess.run(command, check=True, env=env)


class BuildWithCMake(build_py):
    """Let CMake build and lay out everything; setuptools only packs it."""

    def run(self) -> None:
        """Build into staging, then hand its parts to the wheel."""
        for stale in (STAGING, Path(self.build_lib)):  # a module that is gone must not linger
            shutil.rmtree(stale, ignore_errors=True)
        for name in UNDERLAY:
            if not has_package(name):
                cmake(ROOT / "underlay" / name, name)
                (STAGING / "share" / name / BUILT_HERE).touch()
        cmake(ROOT, "clip_surgery_ros")
        (site_packages,) = STAGING.glob("lib/python3*/*-packages")
        for part in site_packages.iterdir():
            if part.is_dir() and not part.name.endswith(".egg-info"):
                shutil.copytree(part, Path(self.build_lib) / part.name, dirs_exist_ok=True)
        if ros_from_wheels():
            (Path(self.build_lib) / "clip_surgery_ros.pth").write_text(AT_START)
        self.distribution.data_files = data_files(site_packages)


def data_files(site_packages: Path) -> list[tuple[str, list[str]]]:
    """Everything in staging that is no Python package, by folder."""
    folders: dict[str, list[str]] = {}
    for path in sorted(STAGING.rglob("*")):
        if path.is_file() and not path.is_relative_to(site_packages):
            folder = str(path.parent.relative_to(STAGING))
            folders.setdefault(folder, []).append(str(path.relative_to(ROOT)))
    return list(folders.items())


class BinaryDistribution(Distribution):
    """The interfaces are compiled, so the wheel is of this platform."""

    def has_ext_modules(self) -> bool:
        """Compiled code is in it."""
        return True


def version() -> str:
    """The package's version, as package.xml has it."""
    match = re.search(r"<version>(.+?)</version>", (ROOT / "package.xml").read_text())
    if match is None:
        raise SystemExit("package.xml has no version")
    return match.group(1)


def requirements() -> list[str]:
    """Lines of setup/requirements.txt."""
    lines = (ROOT / "setup" / "requirements.txt").read_text().splitlines()
    return [line for line in lines if line and not line.startswith("#")]


setup(
    name="clip_surgery_ros",
    version=version(),
    description="Finds things by name in a robot's camera: CLIP Surgery heatmaps and SAM masks",
    license="Apache-2.0",
    python_requires=">=3.11,<3.13",
    packages=["clip_surgery_ros"],
    install_requires=requirements(),
    # The code of MobileSAM's and SAM 2's authors: theirs is in no index, or a source archive that
    # pip builds against another torch.
    # The rendered world: embreex has no wheels for ARM.
    extras_require={
        "mobile_sam": ["mobilesam-mirror>=1,<2"],
        "sam2": ["rf-sam-2>=1.0.3,<2"],
        "world": ['embreex>=4.4,<5; platform_machine == "x86_64"', "manifold3d>=3.5,<4"],
    },
    cmdclass={"build_py": BuildWithCMake},
    distclass=BinaryDistribution,
    data_files=[],
    entry_points={
        "console_scripts": [
            "clip_surgery = clip_surgery_ros.tools.cli:main",
            "clip_surgery_node = clip_surgery_ros.node.main:main",
            "demo_camera = clip_surgery_ros.demo.camera:main",
        ]
    },
)
