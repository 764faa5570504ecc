"""Simulates users who browse, are shown items, and click with a known probability. ``mdaf.data.synthetic`` uses it.

Each user has a *focus*: the category in which the user browses. The focus moves to its successor, or to another one of
the user's interests. The click probability of an impression depends on:

- the order of events: how recently the candidate's category was seen, and whether it is the successor of the last one;
- the user: interest in the category, a general inclination to click, taste for the item (a product of factors);
- the item: its quality, and weariness if it is among the last few seen;
- the hour.

So a model that counts a user's events learns something, a model that reads them in order learns more, and no model can
learn more than the probability itself. All users take their first action at once, then their second, and so on. So
there is no loop over rows.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from mdaf.streams import stream_seed

_INTERESTS = 4  # the categories in which a user is interested
_FACTORS = 4  # the dimensions of taste
_MEMORY = 5  # the last events on which a click may depend
_FADING = 0.55 ** np.arange(_MEMORY)  # the weight of the last event, of the one before it, ...

_RECENT = 1.8  # this and the next: the weights of the parts of the log-odds
_SUCCEEDS = 2.2
_INTEREST = 0.8
_WEARY = -1.0
_USER = 0.4
_QUALITY = 0.4
_TASTE = 0.4
_HOUR = 0.2

_STAYS, _SUCCESSOR = 0.75, 0.15  # probabilities of the focus's next step; else it moves to an interest of the user
_FROM_POPULAR, _FROM_RECENT, _FROM_SUCCESSOR = 0.30, 0.30, 0.15  # shares of candidates; the rest are interests


def zipf_rank(uniform: np.ndarray, count: np.ndarray | int) -> np.ndarray:
    """Converts uniform numbers in [0, 1) to ranks in [0, count). Rank r has a probability of about 1 / (r + 1)."""
    ranks = np.floor(np.exp(uniform * np.log(np.asarray(count) + 1.0))).astype(np.int64) - 1
    return np.clip(ranks, 0, np.asarray(count) - 1)


@dataclass(frozen=True)
class World:
    """The properties of users and items, which never change.

    The items of category c are ``category_starts[c]`` to ``category_starts[c + 1]``.
    """

    category_starts: np.ndarray  # (categories + 1,)
    successor: np.ndarray  # (categories,)
    interests: np.ndarray  # (users, interests), categories
    user_bias: np.ndarray  # (users,)
    user_taste: np.ndarray  # (users, factors)
    item_quality: np.ndarray  # (items,)
    item_taste: np.ndarray  # (items, factors)

    @classmethod
    def make(cls, seed: int, users: int, items: int, categories: int) -> World:
        """Draws a world of the given size. ``items`` is at least ``categories``."""
        generator = np.random.default_rng(stream_seed(seed, "world"))
        shares = 1 / np.sqrt(np.arange(1, categories + 1))
        extra = np.floor((items - categories) * np.cumsum(shares) / shares.sum()).astype(np.int64)
        sizes_before = np.concatenate([[0], np.arange(1, categories + 1) + extra])
        sizes_before[-1] = items
        cycle = generator.permutation(categories)
        successor = np.empty(categories, dtype=np.int64)
        successor[cycle] = np.roll(cycle, -1)  # one cycle through all categories: none is its own successor
        return cls(
            category_starts=sizes_before,
            successor=successor,
            interests=zipf_rank(generator.random((users, _INTERESTS)), categories),
            user_bias=generator.standard_normal(users),
            user_taste=generator.standard_normal((users, _FACTORS)),
            item_quality=generator.standard_normal(items),
            item_taste=generator.standard_normal((items, _FACTORS)) / np.sqrt(_FACTORS),
        )

    def of_users(self, first: int, last: int) -> World:
        """The same world with only the users ``first`` to ``last``."""
        return replace(
            self,
            interests=self.interests[first:last],
            user_bias=self.user_bias[first:last],
            user_taste=self.user_taste[first:last],
        )

    def item(self, category: np.ndarray, uniform: np.ndarray) -> np.ndarray:
        """An item of each category, drawn by Zipf popularity."""
        start = self.category_starts[category]
        return start + zipf_rank(uniform, self.category_starts[category + 1] - start)


@dataclass(frozen=True)
class Actions:
    """Browsing steps and impressions, sorted by (user, time), (actions,) each.

    ``time`` is in unix seconds, ``hour`` is local. ``impression`` says which of the two an action is.
    """

    user: np.ndarray
    time: np.ndarray
    hour: np.ndarray
    impression: np.ndarray  # bool


@dataclass(frozen=True)
class Outcome:
    """The results of actions, (actions,) each. ``log_odds`` are the log-odds of a click without the common offset."""

    category: np.ndarray
    item: np.ndarray
    log_odds: np.ndarray
    clicked: np.ndarray


class _State:
    """The focus of each user, and the last events, the latest first; -1 for missing events."""

    def __init__(self, world: World) -> None:
        users = len(world.user_bias)
        self.focus = world.interests[:, 0].copy()
        self.categories = np.full((users, _MEMORY), -1, dtype=np.int64)
        self.items = np.full((users, _MEMORY), -1, dtype=np.int64)

    def see(self, user: np.ndarray, category: np.ndarray, item: np.ndarray) -> None:
        """Records that each of these users, all different, has seen an item."""
        for memory, latest in ((self.categories, category), (self.items, item)):
            memory[user, 1:] = memory[user, :-1]
            memory[user, 0] = latest


def simulate(world: World, actions: Actions, offset: float, seed: int) -> Outcome:
    """Simulates all actions. ``offset`` is added to the log-odds of every click."""
    generator = np.random.default_rng(stream_seed(seed, "actions"))
    count = len(actions.user)
    choice, which, item_draw, click_draw = generator.random((4, count))
    outcome = Outcome(
        category=np.zeros(count, dtype=np.int64),
        item=np.zeros(count, dtype=np.int64),
        log_odds=np.zeros(count),
        clicked=np.zeros(count, dtype=bool),
    )
    state = _State(world)
    for turn in _turns(actions.user):
        user, shown = actions.user[turn], actions.impression[turn]
        own = world.interests[user, (which[turn] * _INTERESTS).astype(np.int64)]
        category = np.where(
            shown,
            _candidates(world, state, user, choice[turn], which[turn], own),
            _browse(world, state, user, choice[turn], own, shown),
        )
        item = world.item(category, item_draw[turn])
        log_odds = _log_odds(world, state, user, category, item, actions.hour[turn])
        clicked = shown & (click_draw[turn] < 1 / (1 + np.exp(-(log_odds + offset))))
        seen = ~shown | clicked
        state.see(user[seen], category[seen], item[seen])
        state.focus[user[clicked]] = category[clicked]
        outcome.category[turn], outcome.item[turn] = category, item
        outcome.log_odds[turn], outcome.clicked[turn] = log_odds, clicked
    return outcome


def _turns(user: np.ndarray) -> list[np.ndarray]:
    """The positions of all users' first actions, then of all users' second actions, and so on."""
    if not len(user):
        return []
    starts = np.flatnonzero(np.diff(user, prepend=-1))
    rank = np.arange(len(user)) - np.repeat(starts, np.diff(starts, append=len(user)))
    order = np.argsort(rank, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(rank[order])) + 1)


def _browse(
    world: World, state: _State, user: np.ndarray, choice: np.ndarray, own: np.ndarray, shown: np.ndarray
) -> np.ndarray:
    """The category of each user's next view. The focus moves there, unless the action is an impression (``shown``)."""
    focus = state.focus[user]
    moved = np.where(choice < _STAYS, focus, np.where(choice < _STAYS + _SUCCESSOR, world.successor[focus], own))
    state.focus[user[~shown]] = moved[~shown]
    return moved


def _candidates(
    world: World, state: _State, user: np.ndarray, choice: np.ndarray, which: np.ndarray, own: np.ndarray
) -> np.ndarray:
    """The category of each candidate: popular, recently seen, the successor of the last, or one of the interests."""
    categories = len(world.successor)
    popular = zipf_rank(which, categories)
    recent = state.categories[user, (which * _MEMORY).astype(np.int64)]
    last = state.categories[user, 0]
    category = np.where(choice < _FROM_POPULAR, popular, own)
    bound = _FROM_POPULAR + _FROM_RECENT
    category = np.where((choice >= _FROM_POPULAR) & (choice < bound) & (recent >= 0), recent, category)
    follows = (choice >= bound) & (choice < bound + _FROM_SUCCESSOR) & (last >= 0)
    return np.where(follows, world.successor[last], category)


def _log_odds(
    world: World, state: _State, user: np.ndarray, category: np.ndarray, item: np.ndarray, hour: np.ndarray
) -> np.ndarray:
    """The log-odds of a click on each candidate, without the common offset."""
    last = state.categories[user, 0]
    return (
        _RECENT * ((state.categories[user] == category[:, None]) @ _FADING)
        + _SUCCEEDS * ((last >= 0) & (world.successor[last] == category))
        + _INTEREST * (world.interests[user] == category[:, None]).any(axis=1)
        + _WEARY * (state.items[user] == item[:, None]).any(axis=1)
        + _USER * world.user_bias[user]
        + _QUALITY * world.item_quality[item]
        + _TASTE * (world.user_taste[user] * world.item_taste[item]).sum(axis=1)
        + _HOUR * np.sin(2 * np.pi * hour / 24)
    )


def offset_for(log_odds: np.ndarray, click_rate: float) -> float:
    """The common offset with which the mean click probability is ``click_rate``, found by bisection."""
    low, high = -30.0, 30.0
    for _ in range(60):
        middle = (low + high) / 2
        if np.mean(1 / (1 + np.exp(-(log_odds + middle)))) < click_rate:
            low = middle
        else:
            high = middle
    return (low + high) / 2
