"""A worker process: `python -m fancypipe_procs.child`, started by the pool and nobody else."""

from __future__ import annotations

import gc
import sys

if __name__ == "__main__":
    # What is imported here stays until the end: to look for garbage in it is lost time,
    # while it is made and at each later collection.
    gc.disable()
    from fancypipe_procs._worker import main

    gc.freeze()
    gc.enable()
    main(sys.argv[1:])
