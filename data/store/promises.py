"""What the splits of a store promise: which rows of training may be later than a row of validation or test."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mdaf.data.store.event_store import EventStore

PROMISE = "promise"  # the entry of the manifest; stores of earlier versions lack it
TIME, TRAINING_FIRST, USERS, WITHIN_USERS, TRAINING_FIRST_WITHIN_USERS, NONE = (
    "time",
    "training_first",
    "users",
    "within_users",
    "training_first_within_users",
    "none",
)
SENTENCES = {
    TIME: "training ends before validation begins, and that before the test, for all users together",
    TRAINING_FIRST: "training ends before validation and test begin, for all users together; these two overlap in time",
    USERS: "no user is in two splits; training rows of other users may be later than a test row",
    WITHIN_USERS: "for each user, training rows come before validation rows, and these before test rows; training rows "
    "of other users may be later than a test row",
    TRAINING_FIRST_WITHIN_USERS: "for each user, training rows come before validation and test rows, which are mixed; "
    "training rows of other users may be later than a test row",
    NONE: "no promise holds: users have training rows that are later than their own validation or test rows, so a "
    "model is scored on a past that its training has gone beyond",
}


def promise_of(store: EventStore) -> str:
    """Which promise the splits of a store keep, a key of ``SENTENCES``."""
    if PROMISE in store.manifest:
        return store.manifest[PROMISE]
    if store.manifest["source"] == "taobao_ad_joined":  # its times are made up, and stand for the split
        return USERS
    validation, test = store.boundaries
    return TIME if test > validation else TRAINING_FIRST


def promise_in_words(store: EventStore) -> str:
    """One sentence that says which promise holds, and what it leaves open."""
    alone = "; no user of the test is in training" if store.held_out else ""
    return f"{SENTENCES[promise_of(store)]}{alone}"
