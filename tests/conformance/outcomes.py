"""How a run ended, for tests of what tasks do wrong."""

from __future__ import annotations

from typing import Any

import pytest

from fancypipe_core import Session, errors


def shares_memory(session: Session) -> bool:
    return session.settings.backend not in ("procs", "remote")


def raised(session: Session, instance: Any) -> errors.TaskError:
    with pytest.raises(errors.TaskError) as caught:
        session.run(instance)
    return caught.value
