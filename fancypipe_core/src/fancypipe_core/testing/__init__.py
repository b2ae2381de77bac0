"""For authors of backends: the conformance kit.

`pytest --pyargs fancypipe_core.testing.conformance --backend NAME` runs the
rules of `fancypipe_core.backend`, a table of crashes, pipelines that must give
the same everywhere, and checks for leaks against an installed backend.  One that
is not installed is named by its plugin: `--backend MODULE:ATTRIBUTE`.

pytest is needed to run the kit, and only then.
"""
