"""Settings of Sphinx for the documentation site, see ``make docs``.

The source folder is the repository, so that pages in ``docs/`` and READMEs elsewhere link to each other as on GitHub.
"""

import inspect
import re
from importlib import import_module
from importlib.metadata import version as installed_version
from typing import Any

project = "extension-kit"
copyright = "its authors"
version = release = installed_version("extension-kit")

root_doc = "docs/index"
include_patterns = [
    "docs/**.md",
    "extensions/README.md",
    "extensions/*/README.md",
    "helm/extension/README.md",
    "benchmarks/README.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
]
exclude_patterns = [".*", "build", "dist", "tests", "extension_kit", "tools", "packaging"]  # not looked through

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_copybutton"]
smartquotes = False  # they make one dash of the two of an option
nitpicky = True
# Types of other libraries, and those of the kit that are not public, have no entry to link to.
nitpick_ignore_regex = [("py:.*", r"(?!extension_kit\.)(?s:.*)"), ("py:.*", r"extension_kit\.[a-z_.]+\.\w+")]
suppress_warnings = ["ref.python"]  # a property called ``type`` is not the type

myst_heading_anchors = 4

autodoc_inherit_docstrings = False
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
python_use_unqualified_type_names = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True

linkcheck_ignore = [r"https?://(localhost|127\.0\.0\.1|([^/]+\.)?example\.(com|org))"]
linkcheck_timeout = 30

html_theme = "furo"
html_title = "extension-kit"
html_extra_path = ["site"]
html_static_path = ["static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sourcelink = False

PUBLIC = [f"extension_kit{name}" for name in ("", ".http", ".templates", ".testing", ".protocol")]


def find_public_name(app: Any, env: Any, node: Any, contnode: Any) -> Any:
    """Link an annotation, which names the module that defines a class, to the entry of its public name."""
    target = node.get("reftarget", "")
    name = target.rpartition(".")[2]
    for module in PUBLIC if node.get("refdomain") == "py" else ():
        defined = getattr(import_module(module), name, None)
        if target == f"{getattr(defined, '__module__', '')}.{name}" != f"{module}.{name}":
            found = (app.builder, node["reftype"], f"{module}.{name}", node, contnode)
            return env.get_domain("py").resolve_xref(env, node["refdoc"], *found)
    return None


def leave_out_aliases(app: Any, what: str, name: str, obj: Any, skip: bool, options: Any) -> bool | None:
    """Leave out the fields of a named tuple, which its own docstring describes."""
    return True if (getattr(obj, "__doc__", None) or "").startswith("Alias for field number") else None


def leave_out_type(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Leave out the type with which the documentation of a property of an event begins: its signature has it."""
    if isinstance(obj, property) and obj.__doc__ != obj.fget.__doc__:
        lines[:] = [*inspect.cleandoc(obj.fget.__doc__ or "").splitlines(), ""]


def replace_diagrams(app: Any, docname: str, source: list[str]) -> None:
    """Replace diagrams that GitHub draws by a link to pictures."""
    source[0] = re.sub(
        r"```mermaid\n.*?```\n", "[How it works](how-it-works.md) has a picture.\n", source[0], flags=re.DOTALL
    )


def setup(app: Any) -> None:
    """Connect the functions to Sphinx."""
    app.connect("missing-reference", find_public_name)
    app.connect("autodoc-skip-member", leave_out_aliases)
    app.connect("autodoc-process-docstring", leave_out_type, priority=400)  # before napoleon reads it
    app.connect("source-read", replace_diagrams)
