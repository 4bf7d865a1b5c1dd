"""``docs/api.md`` has the text of the docstrings, and their examples run."""

from __future__ import annotations

import doctest
import re
import runpy
from importlib import import_module
from types import SimpleNamespace

import pytest
from pages import ROOT

API = SimpleNamespace(**runpy.run_path(str(ROOT / "docs" / "make_api.py")))
PATHS = [path for paths in API.NAMES.values() for path in paths]


def test_api_page_is_up_to_date() -> None:
    assert API.PAGE.read_text() == API.page(), "run: python docs/make_api.py"


def run_examples(*tests: doctest.DocTest) -> int:
    """Run examples and return how many there were."""
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    report: list[str] = []
    for test in tests:
        runner.run(test, out=report.append)
    assert not runner.failures, "".join(report)
    return runner.tries


@pytest.mark.parametrize("path", PATHS)
def test_documented_name_has_an_example_that_runs(path: str) -> None:
    module_name, _, name = path.rpartition(".")
    module = import_module(f"clip_surgery_ros.{module_name}")
    tests = doctest.DocTestFinder().find(getattr(module, name), name, module)
    assert run_examples(*tests), "write an example of it"


def test_example_of_the_introduction_runs() -> None:
    text = re.sub("^```.*$", "", API.INTRODUCTION, flags=re.MULTILINE)
    assert run_examples(doctest.DocTestParser().get_doctest(text, {}, "introduction", None, 0))


def test_removed_name_is_reported() -> None:
    with pytest.raises(LookupError, match=r"core/query.py does not define pars_query"):
        API.definition("core.query.pars_query")


@pytest.mark.parametrize(
    ("docstring", "markdown"),
    [
        ("Return ``x``.", "Return `x`."),
        ("A :class:`~a.b.Query`.", "A `a.b.Query`."),
        (
            "Sum.\n\n:param a: first\n    number.\n:returns: the sum.\n:raises E: never.\n",
            "Sum.\n\n- `a`: first\n  number.\n- returns: the sum.\n- raises `E`: never.",
        ),
        (
            "Sum.\n\n>>> 1 + 1\n2\n\nEnd.",
            "Sum.\n\n```python\n>>> 1 + 1\n2\n```\n\nEnd.",
        ),
    ],
)
def test_docstrings_become_markdown(docstring: str, markdown: str) -> None:
    assert API.rendered(docstring) == markdown
