"""Lets ``pip install .`` build the package with the same CMakeLists.txt as colcon.

CMake installs into a staging folder. Its site-packages become the packages of the wheel. The rest
(share/, lib/, include/, the ament index) becomes the wheel's data, which pip installs into the
environment's prefix, as it does for ROS from wheels. The packages in underlay/ that are not
installed are built too.
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
"""Every Python runs this at its start, in an environment with ROS from wheels."""
UNDERLAY = ("vision_msgs", "tf2_msgs")
"""Packages below ``underlay/``: messages in use that ROS from wheels lacks."""
BUILT_HERE = "built_by_clip_surgery_ros"
"""Marks a package of underlay/ that this script built. It does not count as installed."""


def prefixes() -> list[Path]:
    """Return the folders with ROS packages: sourced workspaces first, then this environment."""
    sourced = os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep)
    return [Path(p) for p in (*sourced, sys.prefix) if p]


def has_package(name: str) -> bool:
    """Whether a ROS package is installed, other than by this script."""
    marker = Path("share") / "ament_index" / "resource_index" / "packages" / name
    with_package = [prefix for prefix in prefixes() if (prefix / marker).is_file()]
    return any(not (prefix / "share" / name / BUILT_HERE).is_file() for prefix in with_package)


def has_ros_from_wheels() -> bool:
    """Whether ROS is installed in this Python environment itself."""
    return (Path(sys.prefix) / "share" / "rclpy").is_dir()


def cmake(source: Path, name: str) -> None:
    """Configure and build a CMake project, and install it into the staging folder.

    :param name: of the project's build folder.
    """
    build = BUILD / name
    search = os.pathsep.join(str(p) for p in [STAGING, *prefixes()])
    env = {**os.environ, "AMENT_PREFIX_PATH": search, "CMAKE_PREFIX_PATH": search}
    options = [
        f"-DCMAKE_INSTALL_PREFIX={STAGING}",
        f"-DPython3_EXECUTABLE={sys.executable}",
        "-DBUILD_TESTING=OFF",
        "-DCMAKE_BUILD_TYPE=Release",
    ]
    if has_ros_from_wheels():
        options.append(f"-DCMAKE_PROJECT_INCLUDE={ROOT / 'cmake' / 'wheels.cmake'}")
    jobs = str(os.cpu_count() or 1)
    for command in (
        ["cmake", "-S", str(source), "-B", str(build), *options],
        ["cmake", "--build", str(build), "--parallel", jobs],
        ["cmake", "--install", str(build)],
    ):
        subprocess.run(command, check=True, env=env)


class BuildWithCMake(build_py):
    """Builds with CMake; setuptools only packs the result."""

    def run(self) -> None:
        """Build and install into the staging folder, then copy its files to the wheel."""
        for old_folder in (STAGING, Path(self.build_lib)):  # it may have modules that were deleted
            shutil.rmtree(old_folder, ignore_errors=True)
        for name in UNDERLAY:
            if not has_package(name):
                cmake(ROOT / "underlay" / name, name)
                (STAGING / "share" / name / BUILT_HERE).touch()
        cmake(ROOT, "clip_surgery_ros")
        (site_packages,) = STAGING.glob("lib/python3*/*-packages")
        for package in site_packages.iterdir():
            if package.is_dir() and not package.name.endswith(".egg-info"):
                shutil.copytree(package, Path(self.build_lib) / package.name, dirs_exist_ok=True)
        if has_ros_from_wheels():
            (Path(self.build_lib) / "clip_surgery_ros.pth").write_text(AT_START)
        self.distribution.data_files = data_files(site_packages)


def data_files(site_packages: Path) -> list[tuple[str, list[str]]]:
    """Return the files of the staging folder outside of site-packages, by folder."""
    folders: dict[str, list[str]] = {}
    for path in sorted(STAGING.rglob("*")):
        if path.is_file() and not path.is_relative_to(site_packages):
            folder = str(path.parent.relative_to(STAGING))
            folders.setdefault(folder, []).append(str(path.relative_to(ROOT)))
    return list(folders.items())


class BinaryDistribution(Distribution):
    """A distribution with compiled code, so that its wheel is for this platform only."""

    def has_ext_modules(self) -> bool:
        """Whether there is compiled code: the message types are compiled."""
        return True


def version() -> str:
    """Return the version in package.xml."""
    match = re.search(r"<version>(.+?)</version>", (ROOT / "package.xml").read_text())
    if match is None:
        raise SystemExit("package.xml has no version")
    return match.group(1)


def requirements() -> list[str]:
    """Return the requirements in setup/requirements.txt."""
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
    # mobile_sam: the authors do not publish a package; this is a copy of their repository.
    # sam2: Meta's own package is a source archive, for which pip would download a second torch.
    # ray: `label` on a cluster; older versions were not tried.
    # search: finds images of recorded bags by words.
    # web: the web console; Ubuntu 24.04's python3-aiohttp is 3.9.
    # rerun: the bridge to the Rerun viewer, and files for it. 0.41 has the reader and the named
    # coordinate frames that are used; minor versions change functions. It needs numpy 2.
    # world: the rendered world. There are no wheels of embreex for ARM.
    extras_require={
        "mobile_sam": ["mobilesam-mirror>=1,<2"],
        "rerun": ["rerun-sdk>=0.41,<0.42"],
        "search": ["faiss-cpu>=1.10,<2"],
        "sam2": ["rf-sam-2>=1.0.3,<2"],
        "ray": ["ray>=2.60,<3"],
        "web": ["aiohttp>=3.9,<4"],
        "world": [
            'embreex>=4.4,<5; platform_machine == "x86_64"',
            "manifold3d>=3.5,<4",
            "trimesh>=5,<6",
        ],
    },
    cmdclass={"build_py": BuildWithCMake},
    distclass=BinaryDistribution,
    data_files=[],
    entry_points={
        "console_scripts": [
            "clip_surgery = clip_surgery_ros.tools.cli:main",
            "clip_surgery_node = clip_surgery_ros.node.main:main",
            "clip_surgery_rerun = clip_surgery_ros.rerun_bridge.main:main",
            "clip_surgery_web = clip_surgery_ros.web.main:main",
            "demo_camera = clip_surgery_ros.demo.camera:main",
        ]
    },
)
