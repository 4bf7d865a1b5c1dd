"""Write ``docs/api.md`` from the docstrings of the package: ``python docs/make_api.py``.

:data:`NAMES` lists the documented Python API. The script reads the source files and imports
nothing. Run it again when ``test/test_api_page.py`` asks for it.
"""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = "clip_surgery_ros"
PAGE = ROOT / "docs" / "api.md"
Definition = ast.ClassDef | ast.FunctionDef
NAMES: Mapping[str, Sequence[str]] = {
    "Find things in an image": (
        "networks.factory.load_networks",
        "networks.factory.LoadedNetworks",
        "parameters.config.Config",
        "core.pipeline.Pipeline",
        "core.settings.Settings",
        "core.recipes.Recipe",
    ),
    "Queries": (
        "core.query.parse_query",
        "core.query.query_of",
        "core.types.Query",
        "core.types.Label",
    ),
    "Results": (
        "core.types.FrameResult",
        "core.types.Segment",
        "core.types.AbsentLabel",
        "core.types.PointPrompts",
        "core.types.Wanted",
    ),
    "The method in parts": (
        "networks.clip.backend.ClipBackend",
        "core.heatmap.feature_surgery",
        "core.heatmap.normalized_map",
        "core.points.reference_points",
        "networks.sam.segmenters.load_segmenter",
    ),
    "Files, pictures and messages": (
        "weights.state_dicts.load_state_dict",
        "pictures.files.read_image",
        "pictures.render.draw_segments",
        "ros.images.image_to_rgb",
        "ros.images.compressed_to_rgb",
        "ros.images.image_message",
    ),
}
"""Path below the package of every documented class and function, by section of the page."""
INTRODUCTION = """\
# Python API

Everything here works without a running ROS; only `image_to_rgb`, `compressed_to_rgb` and
`image_message` import ROS messages. Shape letters are the same everywhere: B images, T texts or
labels, N tokens, C channels, H W pixels, h w token grid, P points, M masks. `np` is numpy.

The demo networks come with the package. This finds things in a picture:

```python
>>> import numpy as np
>>> from clip_surgery_ros.core.query import parse_query
>>> from clip_surgery_ros.networks.factory import load_networks
>>> from clip_surgery_ros.parameters.config import Config
>>> config = Config.from_values()  # or {"clip_model": "openai/ViT-B-16", "sam_model": "vit_b"}
>>> pipeline = load_networks(config).pipeline(config)
>>> image_rgb = np.zeros((240, 320, 3), np.uint8)  # a black picture: nothing is found
>>> result = pipeline.run(image_rgb, parse_query("red mug; hammer"))
>>> [segment.name for segment in result.segments], [label.name for label in result.absent]
([], ['red mug', 'hammer'])
```

This page is written by `docs/make_api.py` from the docstrings. Tests run its examples.
"""
MAX_SIGNATURE = 88
"""Characters of a signature in one line."""
_FIELD = re.compile(r":(param|returns?|raises)\s*([^:\n]*):\s*(.*)")
_ROLE = re.compile(r":(?:class|func|meth|data|attr|mod):`~?\.?([^`]+)`")


def definition(path: str) -> tuple[str, Definition]:
    """Return the module and the definition of a name, as ``core.query.parse_query``.

    :raises LookupError: where the module does not define it.
    """
    module, _, name = path.rpartition(".")
    file = ROOT / PACKAGE / f"{module.replace('.', '/')}.py"
    if file.is_file():
        for node in ast.parse(file.read_text()).body:
            if isinstance(node, ast.ClassDef | ast.FunctionDef) and node.name == name:
                return f"{PACKAGE}.{module}", node
    raise LookupError(f"{file.relative_to(ROOT)} does not define {name}; correct NAMES")


def page() -> str:
    """Return the text of the page."""
    parts = [INTRODUCTION, "| section | |\n| --- | --- |"]
    for title, paths in NAMES.items():
        names = (path.rpartition(".")[2] for path in paths)
        linked = ", ".join(f"[`{name}`](#{name.casefold()})" for name in names)
        parts[-1] += (
            f"\n| [{title}](#{title.casefold().replace(',', '').replace(' ', '-')}) | {linked} |"
        )
    for title, paths in NAMES.items():
        parts.append(f"\n## {title}")
        for path in paths:
            parts += ["", *entry(*definition(path))]
    return "\n".join(parts) + "\n"


def entry(module: str, node: Definition) -> Iterator[str]:
    """Yield the lines about a class or function."""
    yield f"### {node.name}\n"
    yield f"```python\nfrom {module} import {node.name}\n"
    yield f"{signature(node)}\n```\n"
    yield rendered(ast.get_docstring(node) or "")
    if isinstance(node, ast.ClassDef):
        for method in node.body:
            if isinstance(method, ast.FunctionDef) and not method.name.startswith("_"):
                yield f"\n**`{node.name}.{call(method)}`**\n"
                yield rendered(ast.get_docstring(method) or "")


def signature(node: Definition) -> str:
    """Return how a function is called, or a class constructed, with types."""
    if isinstance(node, ast.FunctionDef):
        returns = f" -> {ast.unparse(node.returns)}" if node.returns else ""
        return one_line_or_many(node.name, arguments(node, with_types=True), returns)
    for method in node.body:
        if isinstance(method, ast.FunctionDef) and method.name == "__init__":
            return one_line_or_many(node.name, arguments(method, with_types=True))
    fields = [_field_text(field) for field in node.body if isinstance(field, ast.AnnAssign)]
    return one_line_or_many(node.name, fields)


def _field_text(field: ast.AnnAssign) -> str:
    """Return a field of a dataclass; of ``parameter(default, help, ...)`` only the default."""
    value = field.value
    if isinstance(value, ast.Call) and ast.unparse(value.func) == "parameter":
        value = value.args[0]
    default = f" = {ast.unparse(value)}" if value else ""
    return f"{ast.unparse(field.target)}: {ast.unparse(field.annotation)}{default}"


def one_line_or_many(name: str, parts: Sequence[str], returns: str = "") -> str:
    """Return a call in one line where it is short, else with an argument in each line."""
    line = f"{name}({', '.join(parts)}){returns}"
    if len(line) <= MAX_SIGNATURE:
        return line
    return "\n".join([f"{name}(", *(f"    {part}," for part in parts), f"){returns}"])


def call(function: ast.FunctionDef) -> str:
    """Return a method's call, with the names of its arguments; a property has none."""
    if any(ast.unparse(decorator) == "property" for decorator in function.decorator_list):
        return function.name
    return f"{function.name}({', '.join(arguments(function))})"


def arguments(function: ast.FunctionDef, with_types: bool = False) -> list[str]:
    """Return each argument of a function, without ``self`` and ``cls``."""
    given = function.args
    first_default = len(given.args) - len(given.defaults)
    shown = [
        _argument(argument, with_types, given.defaults[index - first_default])
        if index >= first_default
        else _argument(argument, with_types)
        for index, argument in enumerate(given.args)
        if argument.arg not in ("self", "cls")
    ]
    if given.vararg:
        shown.append(f"*{_argument(given.vararg, with_types)}")
    elif given.kwonlyargs:
        shown.append("*")
    pairs = zip(given.kwonlyargs, given.kw_defaults, strict=True)
    shown += [_argument(argument, with_types, default) for argument, default in pairs]
    return shown + ([f"**{_argument(given.kwarg, with_types)}"] if given.kwarg else [])


def _argument(argument: ast.arg, with_type: bool, default: ast.expr | None = None) -> str:
    kind = f": {ast.unparse(argument.annotation)}" if with_type and argument.annotation else ""
    equals = " = " if kind else "="
    return argument.arg + kind + (f"{equals}{ast.unparse(default)}" if default else "")


def rendered(docstring: str) -> str:
    """Return a docstring as Markdown: fields become a list, examples become code."""
    lines: list[str] = []
    in_code = in_fields = False
    for line in inspect.cleandoc(docstring).splitlines():
        field = _FIELD.match(line)
        starts_code = line.lstrip().startswith(">>>") and not in_code
        if in_code and not line.strip():
            lines, in_code = [*lines, "```"], False
        if starts_code:
            lines, in_code = [*lines, *([""] if lines and lines[-1] else []), "```python"], True
        if in_code:
            lines.append(line)
        elif field:
            lines += [""] if lines and lines[-1] and not in_fields else []
            lines.append(_field(*field.groups()))
            in_fields = True
        else:
            in_fields = in_fields and line.startswith(" ")
            lines.append(_inline(f"  {line.strip()}" if in_fields else line))
    return "\n".join([*lines, "```"] if in_code else lines)


def _field(kind: str, name: str, text: str) -> str:
    shown = {"param": f"`{name}`", "raises": f"raises `{name}`"}.get(kind, "returns")
    return f"- {shown}: {_inline(text)}".rstrip()


def _inline(text: str) -> str:
    """Return reST's inline literals and roles as Markdown's."""
    return _ROLE.sub(lambda role: f"`{role[1]}`", text).replace("``", "`")


if __name__ == "__main__":
    PAGE.write_text(page())
    print(f"{PAGE.relative_to(ROOT)} is written")
