"""Builds the pages as a site: `sphinx-build -n -W --keep-going docs build/docs`."""

from __future__ import annotations

from typing import Any

project = "fancypipe"
author = "The FancyPipe developers"
extensions = ["myst_parser"]
exclude_patterns = ["requirements.txt"]
html_theme = "alabaster"
html_theme_options = {"description": "Pipelines of Python functions in parallel"}
myst_heading_anchors = 3
# Sessions are shown as text: the commands of a shell are not Python's prompt.
highlight_language = "none"

_CONTENTS = """
```{toctree}
:hidden:

tutorial
concepts
howto/which-backend
howto/debugging
howto/when-it-does-not-run
howto/errors-and-retries
howto/timeouts
howto/needs
howto/stopping-a-run
howto/nested-graphs
howto/map
howto/external-programs
howto/many-machines
howto/dask
howto/ray
howto/slurm
howto/from-other-tools
howto/live-sessions
howto/asyncio-and-notebooks
howto/joblib-and-dask
howto/settings
howto/inputs-from-a-file
howto/draw-a-pipeline
howto/tab-completion
howto/write-a-backend
howto/page-of-a-run
howto/observe-a-run
security
reference
architecture
remote
faults
benchmarks/README
benchmarks/figures
decisions/README
```
"""


def _add_contents(_app: Any, page: str, source: list[str]) -> None:
    """Add what only the site needs, so that the page reads well without it."""
    if page == "index":
        source[0] += _CONTENTS
    elif page == "decisions/README":
        source[0] += "\n```{toctree}\n:hidden:\n:glob:\n\n0*\n```\n"


def setup(app: Any) -> None:
    """Sphinx calls this."""
    app.connect("source-read", _add_contents)
