"""Settings for all tests."""

from __future__ import annotations

import hypothesis

# How long an example takes says more of the machine than of the code.
hypothesis.settings.register_profile("fancypipe", deadline=None)
hypothesis.settings.load_profile("fancypipe")
