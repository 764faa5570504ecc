"""Which jobs of a launch each of several processes trains, so that all of them end at about the same time."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

#: What a group costs besides its replicas, in replicas: on a GPU each further one takes less time than the first.
OF_A_GROUP = 2.0


def shares(kinds: Sequence[str], processes: int, of_a_group: float = OF_A_GROUP) -> list[list[int]]:
    """The numbers of the jobs of each process, at most ``processes`` of them, each in order; job 0 is in the first.

    ``kinds``       what a job must have in common with another to be trained in one group with it.
    ``of_a_group``  what a group costs besides its replicas, in replicas.

    A group is cut into as many even parts as make the longest process shortest.
    """
    groups: dict[str, list[int]] = {}
    for number, kind in enumerate(kinds):
        groups.setdefault(kind, []).append(number)
    cuts = dict.fromkeys(groups, 1)
    found, least = _packed(groups, cuts, processes, of_a_group)
    while True:
        longest = max(groups, key=lambda kind: math.ceil(len(groups[kind]) / cuts[kind]))
        if cuts[longest] >= min(processes, len(groups[longest])):
            break
        cuts[longest] += 1
        packed, cost = _packed(groups, cuts, processes, of_a_group)
        if cost < least:
            found, least = packed, cost
    return sorted(sorted(share) for share in found if share)


def _packed(
    groups: dict[str, list[int]], cuts: dict[str, int], processes: int, of_a_group: float
) -> tuple[list[list[int]], float]:
    """Parts of groups, the longest first, each given to the process that has least to do; and the longest process."""
    parts = [part for kind, members in groups.items() for part in _even(members, cuts[kind])]
    given: list[list[int]] = [[] for _ in range(processes)]
    costs = [0.0] * processes
    for part in sorted(parts, key=len, reverse=True):
        least = costs.index(min(costs))
        given[least] += part
        costs[least] += of_a_group + len(part)
    return given, max(costs)


def _even(members: Sequence[int], parts: int) -> list[list[int]]:
    """So many parts in order, whose sizes differ by one at most."""
    small, more = divmod(len(members), parts)
    ends = [0]
    for part in range(parts):
        ends.append(ends[-1] + small + (part < more))
    return [list(members[start:end]) for start, end in itertools.pairwise(ends)]
