"""Builds the pages as a site: `sphinx-build -n -W --keep-going docs build/docs`."""

from __future__ import annotations

from typing import Any

project = "fancypipe"
author = "The FancyPipe developers"
extensions = ["myst_parser", "sphinx_copybutton"]
exclude_patterns = ["requirements.txt"]
html_theme = "furo"
html_title = "fancypipe"
html_theme_options = {
    "source_repository": "https://github.com/fancypipe/fancypipe/",
    "source_branch": "main",
    "source_directory": "docs/",
    "light_css_variables": {"color-brand-primary": "#2b5797", "color-brand-content": "#2b5797"},
    "dark_css_variables": {"color-brand-primary": "#8ab4f0", "color-brand-content": "#8ab4f0"},
}
myst_heading_anchors = 3
# Sessions are shown as text: the commands of a shell are not Python's prompt.
highlight_language = "none"
# What is copied from a session is what was typed, without prompts and answers.
copybutton_prompt_text = r"\$ |>>> |\.\.\. "
copybutton_prompt_is_regexp = True
copybutton_only_copy_prompt_lines = True

_CHAPTERS = {
    "Learn": ("tutorial", "a-real-study", "concepts", "examples"),
    "Run it": (
        "howto/which-backend",
        "howto/settings",
        "howto/inputs-from-a-file",
        "howto/draw-a-pipeline",
        "howto/debugging",
        "howto/replay",
        "howto/when-it-does-not-run",
        "howto/journal",
        "howto/page-of-a-run",
        "howto/tell-others",
        "howto/stopping-a-run",
        "howto/resume",
        "howto/tab-completion",
    ),
    "Write tasks": (
        "howto/nested-graphs",
        "howto/map",
        "howto/external-programs",
        "howto/files",
        "howto/errors-and-retries",
        "howto/timeouts",
        "howto/needs",
    ),
    "Many machines": (
        "howto/many-machines",
        "howto/slurm",
        "howto/dask",
        "howto/ray",
        "security",
    ),
    "In your program": (
        "howto/live-sessions",
        "howto/asyncio-and-notebooks",
        "howto/joblib-and-dask",
        "howto/from-other-tools",
    ),
    "Extend it": ("howto/write-a-backend", "howto/observe-a-run"),
    "Reference": ("reference", "benchmarks/README", "benchmarks/figures"),
    "How it works": ("architecture", "remote", "faults", "decisions/README"),
}


def _contents() -> str:
    """Return the site's navigation: a tree for each chapter."""
    trees = (
        "\n".join(("```{toctree}", ":hidden:", f":caption: {caption}", "", *pages, "```", ""))
        for caption, pages in _CHAPTERS.items()
    )
    return "\n" + "\n".join(trees)


def _add_contents(_app: Any, page: str, source: list[str]) -> None:
    """Add what only the site needs, so that the page reads well without it."""
    if page == "index":
        source[0] += _contents()
    elif page == "decisions/README":
        source[0] += "\n```{toctree}\n:hidden:\n:glob:\n\n0*\n```\n"


def setup(app: Any) -> None:
    """Sphinx calls this."""
    app.connect("source-read", _add_contents)
