from __future__ import annotations

import tempfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mdaf.data.preparing.prepare import prepare
from mdaf.data.schema import FIRST_ID, MATCH_DIFFERS, MATCH_EQUALS, PADDING, UNKNOWN, Batch
from mdaf.data.store.device_store import DeviceStore
from mdaf.data.store.epoch_order import epoch_order
from mdaf.data.store.event_store import SPLITS, EventStore
from tests.data.logs import ANCHOR, OTHER, VALIDATION, Row, user_behavior, write_rows
from tests.data.preparing.test_next_click import logs
from tests.data.store.batches.test_time_gaps import EDGES

MIN_COUNT = 2


class Naive:
    """The same batches from the raw rows, one row after the other."""

    def __init__(self, store: EventStore, log: list[Row], length: int) -> None:
        self.store, self.length = store, length
        self.log = sorted(log, key=lambda row: (row[0], row[4]))
        self.columns = {"user": 0, "item": 1, "category": 2, "behaviour": 3}
        self.known = {}
        for name, column in self.columns.items():
            counts = Counter(row[column] for row in log if row[4] < VALIDATION)
            least = MIN_COUNT if name == "item" else 1
            self.known[name] = {value for value, count in counts.items() if count >= least}
        self.buckets = store.schema.tables["gap"] - FIRST_ID

    def id(self, table: str, value: int | str) -> int:
        if value not in self.known[table]:
            return UNKNOWN
        return FIRST_ID + self.store.vocabulary(table).tolist().index(value)

    def sequence(self, user: int, item: int, time: int) -> dict[str, list[int]]:
        category = next(row[2] for row in self.log if row[1] == item)
        history = [row for row in self.log if row[0] == user and row[4] < time][-self.length :]
        equal = {True: MATCH_EQUALS, False: MATCH_DIFFERS}
        gap = [max(k for k, edge in enumerate(EDGES) if edge <= time - row[4]) for row in history]
        return {
            **{name: [self.id(name, row[self.columns[name]]) for row in history] for name in self.store.events},
            "gap": [FIRST_ID + min(bucket, self.buckets - 1) for bucket in gap],
            "match_item": [equal[row[1] == item] for row in history],
            "match_category": [equal[row[2] == category] for row in history],
        }


@settings(max_examples=15, deadline=None)
@given(logs, st.integers(1, 8))
def test_gathering_equals_looking_up_each_row_on_its_own(log: list[Row], length: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        source = user_behavior(write_rows(Path(folder) / "log.csv", log), length=length, min_count={"item": MIN_COUNT})
        store = prepare(source, Path(folder) / "stores")
        gathered, naive = DeviceStore(store, "cpu"), Naive(store, log, length)
        users, items = store.vocabulary("user").tolist(), store.vocabulary("item").tolist()
        for split in SPLITS:
            samples = store.samples[split]
            batch = gathered.gather(split, gathered.rows(split)[None])
            for row in range(len(samples)):
                user = users[samples.user[row]]
                item = items[samples.static["item"][row] - FIRST_ID]
                expected = naive.sequence(user, item, int(samples.time[row]))
                assert batch.static["item"][0, row] == naive.id("item", item)
                assert batch.static["user"][0, row] == naive.id("user", user)
                assert batch.labels[0, row] == samples.label[row]
                assert batch.lengths[0, row] == len(expected["item"])
                for name, ids in expected.items():
                    padding = [PADDING] * (batch.sequence[name].shape[-1] - len(ids))
                    assert batch.sequence[name][0, row].tolist() == ids + padding, name


@pytest.fixture(scope="module")
def gathered(synthetic_store: EventStore) -> DeviceStore:
    return DeviceStore(synthetic_store, "cpu")


def assert_same(one: Batch, other: Batch) -> None:
    assert torch.equal(one.lengths, other.lengths)
    assert torch.equal(one.labels, other.labels)
    for name, ids in one.static.items():
        assert torch.equal(ids, other.static[name])
    for name, ids in one.sequence.items():
        longest = min(ids.shape[-1], other.sequence[name].shape[-1])
        assert torch.equal(ids[..., :longest], other.sequence[name][..., :longest])
        assert not ids[..., longest:].any()
        assert not other.sequence[name][..., longest:].any()


def test_a_batch_has_every_field_of_the_schema_and_ids_within_its_table(gathered: DeviceStore) -> None:
    schema = gathered.schema
    batch = gathered.gather("train", gathered.rows("train")[None])
    assert set(batch.static) == {field.name for field in schema.static}
    assert set(batch.sequence) == {field.name for field in (*schema.sequence, *schema.matches)}
    fields = [(field, batch.static[field.name]) for field in schema.static]
    fields += [(field, batch.sequence[field.name]) for field in (*schema.sequence, *schema.matches)]
    for field, ids in fields:
        assert ids.min() >= 0
        assert ids.max() < schema.tables[field.table]


@pytest.mark.parametrize("split", SPLITS)
def test_padding_fills_what_lies_past_the_length_and_nothing_else(gathered: DeviceStore, split: str) -> None:
    batch = gathered.gather(split, gathered.rows(split)[None])
    for ids in batch.sequence.values():
        past = torch.arange(ids.shape[-1]) >= batch.lengths[..., None]
        assert torch.equal(ids == PADDING, past)
    for ids in batch.static.values():
        assert (ids != PADDING).all()


def test_replicas_gather_their_own_rows(gathered: DeviceStore) -> None:
    rows = torch.stack([gathered.rows("train")[:30], gathered.rows("train").flip(0)[:30]])
    both = gathered.gather("train", rows)
    for replica in range(2):
        alone = gathered.gather("train", rows[replica : replica + 1], longest=both.sequence["item"].shape[-1])
        assert_same(
            alone,
            Batch(
                static={name: ids[replica : replica + 1] for name, ids in both.static.items()},
                sequence={name: ids[replica : replica + 1] for name, ids in both.sequence.items()},
                lengths=both.lengths[replica : replica + 1],
                labels=both.labels[replica : replica + 1],
            ),
        )


def test_a_batch_is_cut_to_its_longest_history(gathered: DeviceStore) -> None:
    lengths = gathered.lengths("train")
    short = torch.nonzero(lengths == 2)[:4, 0]
    assert gathered.gather("train", short[None]).sequence["gap"].shape == (1, 4, 2)
    assert_same(gathered.gather("train", short[None]), gathered.gather("train", short[None], longest=7))


def test_a_batch_of_empty_histories_is_one_event_of_padding_long(gathered: DeviceStore) -> None:
    empty = torch.nonzero(gathered.lengths("train") == 0)[:3, 0]
    batch = gathered.gather("train", empty[None])
    assert batch.lengths.tolist() == [[0, 0, 0]]
    for ids in batch.sequence.values():
        assert ids.tolist() == [[[PADDING]] * 3]


def test_two_unknown_items_still_differ(tmp_path: Path) -> None:
    # Both items are new in validation: they read the same unknown row, yet only one of them is the candidate.
    log = [*ANCHOR, *OTHER]
    log += [(1, item, 7, "pv", VALIDATION + 10 * n) for n, item in enumerate((70, 71, 70))]
    store = prepare(user_behavior(write_rows(tmp_path / "log.csv", log)), tmp_path / "stores")
    gathered = DeviceStore(store, "cpu")
    samples = store.samples["validation"]
    last = (samples.time == VALIDATION + 20) & (samples.label == 1)
    batch = gathered.gather("validation", torch.from_numpy(last.nonzero()[0])[None])
    assert batch.sequence["item"].tolist() == [[[UNKNOWN, UNKNOWN]]]
    assert batch.static["item"].tolist() == [[UNKNOWN]]
    assert batch.sequence["match_item"].tolist() == [[[MATCH_EQUALS, MATCH_DIFFERS]]]


def test_labels_users_and_lengths_are_those_of_the_store(gathered: DeviceStore, synthetic_store: EventStore) -> None:
    for split, samples in synthetic_store.samples.items():
        assert gathered.labels(split).tolist() == samples.label.tolist()
        assert gathered.users(split).tolist() == samples.user.tolist()
        assert gathered.lengths(split).tolist() == synthetic_store.history_lengths(split).tolist()
        assert gathered.rows(split).tolist() == list(range(len(samples)))


def test_an_epochs_order_holds_every_row_once_and_depends_on_seed_and_epoch_alone() -> None:
    rows = torch.arange(100, 300)
    order = epoch_order(rows, seed=1, epoch=0)
    assert torch.equal(order.sort().values, rows)
    assert torch.equal(order, epoch_order(rows, seed=1, epoch=0))
    assert not torch.equal(order, epoch_order(rows, seed=1, epoch=1))
    assert not torch.equal(order, epoch_order(rows, seed=2, epoch=0))


def test_an_epochs_order_leaves_other_random_numbers_alone() -> None:
    torch.manual_seed(0)
    before = torch.rand(3)
    torch.manual_seed(0)
    epoch_order(torch.arange(10), seed=1, epoch=0)
    assert torch.equal(torch.rand(3), before)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(0, 50), min_size=0, max_size=120),
    st.integers(1, 9),
    st.integers(1, 5),
    st.integers(1, 3),
)
def test_bucketing_changes_only_the_order(lengths: list[int], batch_size: int, window: int, epoch: int) -> None:
    rows = torch.arange(1000, 1000 + len(lengths))
    bucketed = {"lengths": torch.tensor(lengths, dtype=torch.int64), "batch_size": batch_size, "window": window}
    order = epoch_order(rows, seed=1, epoch=epoch, **bucketed)  # type: ignore[arg-type]
    plain = epoch_order(rows, seed=1, epoch=epoch)
    assert torch.equal(order.sort().values, rows)
    assert torch.equal(order, epoch_order(rows, seed=1, epoch=epoch, **bucketed))  # type: ignore[arg-type]
    size = window * batch_size
    full = len(rows) // batch_size * batch_size
    for start in range(0, full, size):  # a window holds what it would hold without bucketing
        stop = min(start + size, full)
        assert torch.equal(order[start:stop].sort().values, plain[start:stop].sort().values)
        of_window = torch.tensor(lengths)[order[start:stop] - 1000].view(-1, batch_size)
        by_first = sorted(of_window.tolist(), key=lambda batch: (batch[0], batch[-1]))
        flat = [length for batch in by_first for length in batch]
        assert flat == sorted(flat)  # its batches are cut from the sorted lengths
    assert torch.equal(order[full:], plain[full:])


def test_replicas_meet_batches_of_like_length_at_the_same_step(gathered: DeviceStore) -> None:
    lengths = gathered.lengths("train")
    orders = [
        epoch_order(gathered.rows("train"), seed=seed, epoch=1, lengths=lengths, batch_size=20, window=8)
        for seed in (1, 2)
    ]
    assert not torch.equal(*orders)
    longest = [lengths[order[:640]].view(32, 20).max(dim=1).values.float() for order in orders]
    assert torch.corrcoef(torch.stack(longest))[0, 1] > 0.9


def test_bucketing_computes_less_padding(gathered: DeviceStore) -> None:
    lengths = gathered.lengths("train")

    def padded(window: int) -> int:
        order = epoch_order(gathered.rows("train"), 1, 1, lengths=lengths, batch_size=20, window=window)
        return sum(int(lengths[part].max()) * len(part) for part in order.split(20)) - int(lengths.sum())

    assert padded(16) < 0.5 * padded(0)


def test_a_run_that_resumes_within_an_epoch_has_the_batches_that_are_left(gathered: DeviceStore) -> None:
    def batches(first: int) -> list[Batch]:
        rows, lengths = gathered.rows("train"), gathered.lengths("train")
        order = epoch_order(rows, 3, 2, lengths=lengths, batch_size=64, window=4)
        return [gathered.gather("train", part[None]) for part in order.split(64)[first:]]

    whole, rest = batches(0), batches(7)
    assert sum(len(batch) for batch in whole) == 700
    assert len(whole[-1]) == 700 % 64
    for one, other in zip(whole[7:], rest, strict=True):
        assert_same(one, other)


def test_a_store_too_large_for_the_device_gives_the_same_batches_from_its_files(synthetic_store: EventStore) -> None:
    resident, mapped = DeviceStore(synthetic_store, "cpu"), DeviceStore(synthetic_store, "cpu", memory_fraction=0)
    assert mapped.mapped
    assert not resident.mapped
    for split in SPLITS:
        rows = torch.stack([resident.rows(split), resident.rows(split).flip(0)])
        assert_same(resident.gather(split, rows), mapped.gather(split, rows))
        assert torch.equal(resident.users(split), mapped.users(split))
        assert torch.equal(resident.lengths(split), mapped.lengths(split))


@settings(max_examples=8, deadline=None)
@given(logs)
def test_nothing_behind_a_history_is_ever_read(log: list[Row]) -> None:
    # Whatever lies at and behind each sample's end may change: its batch does not.
    with tempfile.TemporaryDirectory() as folder:
        store = prepare(user_behavior(write_rows(Path(folder) / "log.csv", log)), Path(folder) / "stores")
        store.events = {name: np.array(codes) for name, codes in store.events.items()}
        before = DeviceStore(store, "cpu")
        for split in SPLITS:
            for row in range(0, len(store.samples[split]), 3):
                end = int(store.samples[split].end[row])
                changed = {name: codes.copy() for name, codes in store.events.items()}
                for codes in changed.values():
                    codes[end:] = 777
                spoiled = EventStore(store.folder, store.manifest)
                spoiled.events = changed
                rows = torch.tensor([[row]])
                assert_same(before.gather(split, rows), DeviceStore(spoiled, "cpu").gather(split, rows))


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
def test_a_batch_on_cuda_equals_that_on_the_cpu(gathered: DeviceStore, synthetic_store: EventStore) -> None:
    on_cuda = DeviceStore(synthetic_store, "cuda")
    order = epoch_order(on_cuda.rows("train"), seed=1, epoch=0)
    assert torch.equal(order.cpu(), epoch_order(gathered.rows("train"), seed=1, epoch=0))
    one, other = on_cuda.gather("train", order[None]), gathered.gather("train", order.cpu()[None])
    moved = Batch(
        static={name: ids.cpu() for name, ids in one.static.items()},
        sequence={name: ids.cpu() for name, ids in one.sequence.items()},
        lengths=one.lengths.cpu(),
        labels=one.labels.cpu(),
    )
    assert_same(moved, other)


@pytest.fixture(scope="module")
def shuffled(synthetic_store: EventStore) -> DeviceStore:
    return DeviceStore(synthetic_store, "cpu", history_order="shuffled")


def events_of(batch: Batch) -> list[list[tuple[int, ...]]]:
    """The events of each sample, every field of one together."""
    fields = torch.stack([ids[0] for ids in batch.sequence.values()], dim=-1).tolist()
    return [
        [tuple(event) for event in sample[:length]]
        for sample, length in zip(fields, batch.lengths[0].tolist(), strict=True)
    ]


@pytest.mark.parametrize("split", SPLITS)
def test_a_shuffled_history_holds_the_same_events_in_another_order(
    gathered: DeviceStore, shuffled: DeviceStore, split: str
) -> None:
    rows = gathered.rows(split)[None]
    in_time, mixed = events_of(gathered.gather(split, rows)), events_of(shuffled.gather(split, rows))
    assert [sorted(events) for events in in_time] == [sorted(events) for events in mixed]
    long = [(a, b) for a, b in zip(in_time, mixed, strict=True) if len(set(a)) > 3]
    assert sum(a != b for a, b in long) > 0.8 * len(long)


def test_each_event_of_a_shuffled_history_is_as_likely_to_come_first(shuffled: DeviceStore) -> None:
    rows = torch.arange(len(shuffled.rows("train")))
    full = rows[shuffled.lengths("train") == shuffled.schema.length]
    batch = shuffled.gather("train", full[None])
    gaps = batch.sequence["gap"][0].float()  # of events that happened in order, the first is the longest ago
    assert abs(float(gaps[:, 0].mean() - gaps[:, -1].mean())) < 4 * float(gaps.std()) / len(full) ** 0.5


def test_a_shuffled_history_is_the_same_in_any_batch(shuffled: DeviceStore) -> None:
    rows = shuffled.rows("train")[:40]
    in_one = shuffled.gather("train", rows[None], longest=shuffled.schema.length)
    alone = shuffled.gather("train", rows[7:8][None])
    for name, ids in alone.sequence.items():
        assert torch.equal(ids[0, 0], in_one.sequence[name][0, 7, : ids.shape[-1]])
