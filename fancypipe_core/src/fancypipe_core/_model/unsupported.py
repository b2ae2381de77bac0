"""What a reference refuses, since it needs the value at once, and what to do instead."""

from __future__ import annotations

__all__ = ["A_COPY", "IN_A_TASK", "OF_NUMPY", "REFUSED"]

IN_A_TASK = "inside a task or module that gets it as an input, or write .result()"
A_COPY = "make a task that returns a changed copy"
REFUSED = {
    "the truth value of": (f"decide {IN_A_TASK}", "bool"),
    "the items of": (
        f"take them by key (ref[0]), or loop {IN_A_TASK}",
        "iter next reversed aiter anext",
    ),
    "the keys of": (f"use them {IN_A_TASK}", "keys"),
    "the length of": ("make a task that returns it, or write .result()", "len length_hint"),
    "what is in": (f"ask {IN_A_TASK}", "contains"),
    "the text of": (f"format it {IN_A_TASK} (its repr(), {{ref!r}}, works)", "str format"),
    "the bytes of": (f"use them {IN_A_TASK}", "bytes"),
    "the number of": (
        f"convert it {IN_A_TASK}",
        "int float complex round trunc floor ceil divmod rdivmod",
    ),
    "the index of": (f"index {IN_A_TASK}", "index"),
    "the path of": (f"open it {IN_A_TASK}", "fspath"),
    "the array of": (f"compute {IN_A_TASK}", "array"),
    "what to call of": (f"call it {IN_A_TASK}", "call"),
    "what to open of": (f"open it {IN_A_TASK}", "enter exit aenter aexit"),
    "what to await of": ("it runs by run() or .result(), which wait for it", "await"),
    "an item of": (f"it cannot be set or removed; {A_COPY}", "setitem delitem"),
}
"""What is not known of a reference: what to do instead, and the methods that ask for it."""

OF_NUMPY = {
    "subtract": "sub", "multiply": "mul", "divide": "truediv", "true_divide": "truediv",
    "floor_divide": "floordiv", "remainder": "mod", "power": "pow", "left_shift": "lshift",
    "right_shift": "rshift", "bitwise_and": "and_", "bitwise_or": "or_", "bitwise_xor": "xor",
    "less": "lt", "less_equal": "le", "equal": "eq", "not_equal": "ne", "greater": "gt",
    "greater_equal": "ge", "negative": "neg", "positive": "pos", "absolute": "abs",
}  # fmt: skip
"""The operators by the names that numpy has for them."""
