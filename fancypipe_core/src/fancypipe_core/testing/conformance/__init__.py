"""The tests of the conformance kit; see `fancypipe_core.testing`."""
