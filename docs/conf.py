"""Sphinx configuration; the settings page is written from the Struct that declares them."""

from __future__ import annotations

from pathlib import Path

from kaname import __version__
from kaname.cli.settings import explain, shown
from kaname.project import Project
from kaname.settings import Settings

project = "Kaname"
copyright = "the Kaname authors"  # noqa: A001  (Sphinx's name for it)
release = __version__
extensions = ["myst_parser"]
html_theme = "furo"
html_title = "Kaname"
myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3
exclude_patterns = ["_build"]


def _settings_page() -> str:
    """Every setting with its default, unit and meaning."""
    lines = ["# Settings", ""]
    lines += ["Written in `kaname.yaml`, overridden by `KANAME_GROUP__NAME` in the environment and by options of", ""]
    lines[-1:] = ["`kaname serve`. `kaname settings` prints the values of a project and where each came from.", ""]
    lines += ["| setting | default | unit | what it is |", "|---|---|---|---|"]
    for line in explain(Project(root=Path(), settings=Settings(), origins={})):
        default = shown(line.default) or '""'
        lines.append(f"| `{line.name}` | `{default}` | {line.unit or ''} | {line.doc} |")
    return "\n".join(lines) + "\n"


_page = Path(__file__).parent / "settings.md"
if not _page.exists() or _page.read_text() != _settings_page():
    _page.write_text(_settings_page())
