"""Runs the cells of a page in a Jupyter kernel, and writes what each of them shows.

    python -m tests.docs.cells FILE

The file is a list of texts, and so is what is written to standard output.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any


def shown(output: Any) -> str:
    """Return what stands below a cell of one output."""
    text = output["text"] if output["output_type"] == "stream" else output["data"]["text/plain"]
    return str(text) if str(text).endswith("\n") else f"{text}\n"


def main(file: Path) -> None:
    from nbclient import NotebookClient
    from nbformat.v4 import new_code_cell, new_notebook

    notebook = new_notebook(cells=list(map(new_code_cell, json.loads(file.read_text("utf-8")))))
    place = {"metadata": {"path": str(file.parent)}}
    NotebookClient(notebook, timeout=60, kernel_name="python3", resources=place).execute()
    told = ["".join(map(shown, cell.outputs)) for cell in notebook.cells]
    sys.stdout.write(json.dumps(told))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
