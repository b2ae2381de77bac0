"""Values that are hard to carry arrive as they are; what cannot travel is refused with its path."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from fancypipe_core import Session, errors
from fancypipe_core.backend import BackendPlugin
from fancypipe_core.testing import _hard_values as hard
from fancypipe_core.testing import _jobs as j
from fancypipe_core.testing._rules import broken


@pytest.fixture(scope="module")
def session(plugin: BackendPlugin, request: pytest.FixtureRequest) -> Iterator[Session]:
    """One session for all values; the scheduler checks itself after every event."""
    with Session(plugin.name, request.config.option.workers, debug=True, grace=5.0) as opened:
        yield opened


@pytest.mark.parametrize("name", hard.CARRIED)
def test_it_arrives_as_it_is(session: Session, name: str) -> None:
    """As an input, as a result, and from task to task."""
    if name.startswith(("array", "number-of")):
        pytest.importorskip("numpy", reason="numpy is not installed")
    make, look = hard.CARRIED[name]
    expected = look(make())
    there, back, between = session.run(
        hard.looked_at(name, make()), hard.made(name), hard.looked_at(name, hard.made(name))
    )
    for way, seen in (("to", there), ("back from", look(back)), ("between", between)):
        assert seen == expected, broken(8, f"on its way {way} the workers {name} became {seen!r}")


@pytest.mark.parametrize("name", hard.REFUSED)
def test_what_cannot_travel_is_refused_with_its_path(
    session: Session, plugin: BackendPlugin, name: str
) -> None:
    """Where memory is shared it need not travel; but nobody is given what is read only once."""
    value = hard.REFUSED[name]()
    if plugin.shares_memory and name not in ("generator", "file"):
        assert session.run(j.same({"a": [value]}))["a"][0] is value
        assert isinstance(session.run(hard.made_within(name))["a"][1][0], type(value))
        return
    with pytest.raises(errors.EncodeError) as refused:
        session.run(j.same({"a": [1, (value,)]}))
    # Up to the value, or to what in it is the matter.
    assert refused.value.path.startswith("inputs['x']['a'][1][0]")
    assert f"{refused.value.path} cannot be sent to another process" in str(refused.value)
    with pytest.raises(errors.TaskError) as failed:
        session.run(hard.made_within(name))
    cause = failed.value.__cause__
    assert isinstance(cause, errors.EncodeError)
    assert cause.path.startswith("result['a'][1][0]")
    assert session.run(j.same(1)) == 1


@pytest.mark.parametrize("name", hard.UNREADABLE)
def test_what_cannot_be_read_again_is_the_failure_of_its_task(
    session: Session, plugin: BackendPlugin, name: str
) -> None:
    """The client does not die of it, nor does a worker."""
    make = hard.UNREADABLE[name]
    if plugin.shares_memory:
        assert type(session.run(hard.made(name))) is type(make())
        return
    for target in (hard.made(name), hard.made_within(name), j.same(make()), j.same([make()])):
        with pytest.raises(errors.TaskError) as failed:
            session.run([target, *[j.same(number) for number in range(10)]])
        assert isinstance(failed.value.__cause__, errors.CodecError)
    assert session.run(j.same(1)) == 1
