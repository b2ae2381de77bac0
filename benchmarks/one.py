"""One measurement in a process of its own: `python -m benchmarks.one` is called by `measure`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from benchmarks.contenders import Unable
from benchmarks.peers import ALL
from benchmarks.workloads import WORKLOADS


def main(argv: list[str]) -> None:
    """Run a workload on a contender; print what came of it as JSON in the last line.

    Args:
        argv: Names of the workload and the contender, n, number of workers.
    """
    workload, name, n, workers = WORKLOADS[argv[0]], argv[1], int(argv[2]), int(argv[3])
    if workload.folder is not None:
        # Before workers are started: they get our sys.path.
        sys.path.insert(0, str(workload.folder))
    contender = ALL[name].make(workers)
    contender.open()
    said: dict[str, Any] = {}
    try:
        said["figures"] = workload.run(contender, n)
    except Unable as lack:
        said["unable"] = str(lack)
    finally:
        contender.close()
    if ALL[name].ours:
        said["code"] = str(Path(sys.modules["fancypipe_core"].__file__ or ""))
    print(json.dumps(said))


if __name__ == "__main__":
    main(sys.argv[1:])
