"""What C keeps of an exception is there on the other side."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from fancypipe_core import Session, errors
from tests.conformance.exceptions_of_c import FIELDS, WAYS, raises


@pytest.mark.fault(4)
@pytest.mark.parametrize("way", WAYS)
def test_an_exception_comes_back_with_all_that_it_holds(way: str, procs: Session) -> None:
    with pytest.raises(BaseException) as here:  # noqa: PT011 - of any kind
        WAYS[way]()
    with pytest.raises(errors.TaskError) as there:
        procs.run(raises(way))
    cause, original = there.value.__cause__, here.value
    assert type(cause) is type(original)
    assert str(cause) == str(original)
    for field in FIELDS:
        assert getattr(cause, field, None) == getattr(original, field, None), field


@pytest.fixture(scope="module")
def procs() -> Iterator[Session]:
    with Session("procs", 1) as session:
        yield session
