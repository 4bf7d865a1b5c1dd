"""The page's files: read once from the package, so that no request touches the disk."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

PAGE = Path(__file__).with_name("page")
INDEX = "index.html"
TYPES = {
    ".html": "text/html",
    ".css": "text/css",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
}
"""Content types by suffix; other files are not served."""


@dataclass(frozen=True)
class PageFile:
    """A file of the page.

    :param data: its bytes.
    :param content_type: without its character set, which is UTF-8.
    """

    data: bytes
    content_type: str


def page_files(folder: Path = PAGE) -> Mapping[str, PageFile]:
    """Return the files of the page by their paths in it, such as ``app.js``."""
    return {
        path.relative_to(folder).as_posix(): PageFile(path.read_bytes(), TYPES[path.suffix])
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.suffix in TYPES
    }
