"""Fair shares: how many slots of each worker each client may use.

Max-min fairness (Bertsekas and Gallager, Data Networks, 6.5.2): nobody gets more
than it needs while somebody who needs more has less.  What nobody needs is
shared evenly all the same, so that a client which begins finds slots at once.

All of it takes time in proportion to clients, workers and shares, never to their product.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

__all__ = ["divide", "fair", "shares"]

Address = bytes


def fair(total: int, needs: Sequence[int]) -> list[int]:
    """Divide so many slots by need.

    Args:
        total: How many there are.
        needs: How many each client could use; who comes first gets what cannot be divided.

    Returns:
        How many each gets; all of them, if there is any client.
    """
    given = [0] * len(needs)
    left = total
    order = sorted(range(len(needs)), key=needs.__getitem__)
    for done, client in enumerate(order):
        wanting = order[done:]
        if needs[client] * len(wanting) > left:
            # None of them can have all that it needs.
            _share_out(left, sorted(wanting), given)
            return given
        given[client] = needs[client]
        left -= needs[client]
    _share_out(left, range(len(needs)), given)
    return given


def _share_out(count: int, clients: Sequence[int], given: list[int]) -> None:
    """Give all of so many to these clients, to each as many, and the first ones the rest."""
    for at, client in enumerate(clients):
        part, rest = divmod(count, len(clients))
        given[client] += part + (at < rest)


def divide(
    slots: Mapping[Address, int], targets: Sequence[int], before: Sequence[Mapping[Address, int]]
) -> list[dict[Address, int]]:
    """Say on which workers the clients' slots are.

    Args:
        slots: How many each worker has.
        targets: How many each client gets; together not more than there are.
        before: Where they were, which is kept as far as it can be.

    Returns:
        For each client, how many of which worker.
    """
    free = dict(slots)
    left = list(targets)
    found: list[dict[Address, int]] = [{} for _ in targets]
    for client, old in enumerate(before):
        for worker, count in old.items():
            kept = min(count, free.get(worker, 0), left[client])
            if kept > 0:
                found[client][worker] = kept
                free[worker] -= kept
                left[client] -= kept
    # A worker that has nothing left is passed over by all who come after.
    rest = iter(free.items())
    worker, has = next(rest, (b"", 0))
    for client, share in enumerate(found):
        while left[client]:
            while not has:
                worker, has = next(rest)
            given = min(has, left[client])
            share[worker] = share.get(worker, 0) + given
            has -= given
            left[client] -= given
    return found


def shares(
    slots: Mapping[Address, int],
    needs: Mapping[Address, int],
    before: Mapping[Address, Mapping[Address, int]],
) -> dict[Address, dict[Address, int]]:
    """Return for each client how many slots of each worker are its own.

    Args:
        slots: How many slots each worker has.
        needs: How many slots each client could use, in the order in which they came.
        before: The last shares.
    """
    clients = list(needs)
    targets = fair(sum(slots.values()), list(needs.values()))
    own = divide(slots, targets, [before.get(client, {}) for client in clients])
    return dict(zip(clients, own, strict=True))
