"""A picture of what was composed: which tasks feed which, inside of which modules.

Tasks of one name in one module are one box, with their number, so that a picture of
thousands can be read; on demand each has its own.  Written for Mermaid, which many pages and
editors show, or for Graphviz.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

from fancypipe_core._doctor.compose import Composed, Met, refs_in
from fancypipe_core._model.ref import Instance, Ref

__all__ = ["Box", "Drawing", "as_dot", "as_mermaid", "draw"]

_LATER = "known when it runs"

Key = tuple[str, ...]
"""The names of the modules around, the outermost first, and the own name."""


class Box(NamedTuple):
    """Tasks or modules of one name in one module.

    Attributes:
        name: Their name.
        number: How many there are.
        is_module: Whether they compose.
        is_open: Of modules: whether what they compose was looked at.
    """

    name: str
    number: int
    is_module: bool
    is_open: bool


class Drawing(NamedTuple):
    """What is to be seen.

    Attributes:
        boxes: By key; those of a module come after its own.
        arrows: From what gives values to what takes them, and how many.
    """

    boxes: dict[Key, Box]
    arrows: dict[tuple[Key, Key], int]


def draw(composed: Composed, each: bool = False) -> Drawing:
    """Return the picture of what was composed.

    Args:
        composed: That.
        each: Whether each instance has a box of its own.
    """
    by_id = {id(one.instance): one for one in composed.met}
    numbers: Counter[Key] = Counter()
    keys: dict[int, Key] = {}

    def key_of(instance: Instance[Any]) -> Key:
        known = keys.get(id(instance))
        if known is None:
            maker = by_id[id(instance)].made_by
            around = key_of(maker) if maker is not None else ()
            known = (*around, instance._definition.name)
            if each:
                numbers[known] += 1
                if numbers[known] > 1:
                    known = (*around, f"{known[-1]} {numbers[known]}")
            keys[id(instance)] = known
        return known

    opened = {key_of(one.instance) for one in composed.met if one.returns}

    def place_of(instance: Instance[Any]) -> Key:
        # Of one name some may be open, and others wait for their inputs.
        key = key_of(instance)
        return key if by_id[id(instance)].returns or key not in opened else (*key, _LATER)

    counts: Counter[Key] = Counter()
    modules: set[Key] = set()
    arrows: Counter[tuple[Key, Key]] = Counter()
    for one in composed.met:
        place = place_of(one.instance)
        counts[place] += 1
        if one.instance._definition.is_module:
            modules.add(place)
        for ref in one.refs:
            for giver in _givers(ref, by_id):
                arrows[place_of(giver), place] += 1
    boxes = {
        key: Box(key[-1], counts[key], key in modules, key in opened) for key in sorted(counts)
    }
    return Drawing(boxes, dict(arrows))


def _givers(ref: Ref[Any], by_id: dict[int, Met]) -> Iterator[Instance[Any]]:
    """Yield the tasks whose values a reference is to: a module has none of its own."""
    waiting = [ref]
    seen: set[int] = set()
    while waiting:
        ref = waiting.pop()
        one = by_id.get(id(ref._origin()))
        if one is None:  # too many were met
            continue
        if one.returns:
            waiting += refs_in(_item(one.result, ref._keys()))
        elif id(one.instance) not in seen:
            seen.add(id(one.instance))
            yield one.instance


def _item(result: Any, keys: Sequence[Any]) -> Any:
    """Return the item of a module's result that is referred to; all of it if there is none."""
    item = result
    with suppress(Exception):  # it is the user's object
        for key in keys:
            item = item[key]
        return item
    return result


def as_mermaid(drawing: Drawing) -> str:
    """Return a flowchart as Mermaid reads it."""
    names = {key: f"n{place}" for place, key in enumerate(drawing.boxes)}
    lines = ["flowchart LR"]

    def write(around: Key, depth: int) -> None:
        indent = "    " * depth
        for key, box in _in(drawing, around):
            text = _label(box).replace('"', "#quot;")
            if box.is_open:
                lines.append(f'{indent}subgraph {names[key]}["{text}"]')
                write(key, depth + 1)
                lines.append(f"{indent}end")
            else:
                first, last = ("{{", "}}") if box.is_module else ("[", "]")
                lines.append(f'{indent}{names[key]}{first}"{text}"{last}')

    write((), 1)
    for (giver, taker), count in drawing.arrows.items():
        many = f"|{count}|" if count > 1 else ""
        lines.append(f"    {names[giver]} -->{many} {names[taker]}")
    return "\n".join(lines)


def as_dot(drawing: Drawing) -> str:
    """Return a graph as Graphviz reads it."""
    names = {key: f"n{place}" for place, key in enumerate(drawing.boxes)}
    lines = [
        "digraph pipeline {",
        '    graph [rankdir=LR, fontname="sans-serif", fontsize=11];',
        '    node [shape=box, style="rounded,filled", fontname="sans-serif", fontsize=11];',
        '    node [fillcolor="#eef3fa", color="#5b7aa6"];',
        '    edge [color="#7a7a7a", fontname="sans-serif", fontsize=9];',
    ]

    def write(around: Key, depth: int) -> None:
        indent = "    " * depth
        for key, box in _in(drawing, around):
            text = _quoted(_label(box))
            if box.is_open:
                lines.append(f"{indent}subgraph cluster_{names[key]} {{")
                lines.append(f'{indent}    label={text}; style="rounded"; color="#b0b0b0";')
                write(key, depth + 1)
                lines.append(f"{indent}}}")
            else:
                shape = ", shape=hexagon" if box.is_module else ""
                lines.append(f"{indent}{names[key]} [label={text}{shape}];")

    write((), 1)
    for (giver, taker), count in drawing.arrows.items():
        many = f' [label="{count}"]' if count > 1 else ""
        lines.append(f"    {names[giver]} -> {names[taker]}{many};")
    lines.append("}")
    return "\n".join(lines)


def _in(drawing: Drawing, around: Key) -> Sequence[tuple[Key, Box]]:
    return [(key, box) for key, box in drawing.boxes.items() if key[:-1] == around]


def _label(box: Box) -> str:
    return box.name if box.number == 1 else f"{box.name} ({box.number:,})"


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
