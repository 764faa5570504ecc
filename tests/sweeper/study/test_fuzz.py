"""Whatever is typed, and whatever a file holds: an answer or one clear line, never a bare traceback."""

from __future__ import annotations

import io
import tempfile
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra import compose, initialize_config_module
from hypothesis import strategies as st
from omegaconf import DictConfig, OmegaConf

from mdaf import conf
from mdaf.messages.secrets import masked, masked_text
from mdaf.sweeper.hydra_ext.run_config import config_hash, validate
from mdaf.sweeper.runs.checkpoint import LAST, DamagedError, PartialEpoch, Position, Saved, read, save, sealed
from mdaf.sweeper.storage.opening import StorageError, open_storage
from mdaf.sweeper.training.building.from_config import hyperparameters, settings
from tests.fuzz import fuzz, parts
from tests.sweeper.inside import run

pytestmark = pytest.mark.timeout(3000)


# ---- overrides


def known_keys() -> list[str]:
    conf.register()
    with initialize_config_module("mdaf.conf"):
        cfg = OmegaConf.to_container(compose("config"))

    def keys(node: Any, prefix: str) -> list[str]:
        if not isinstance(node, dict):
            return [prefix]
        return [prefix] * bool(prefix) + [k for name, v in node.items() for k in keys(v, f"{prefix}.{name}".strip("."))]

    return sorted(keys(cfg, ""))


GROUPS = ["model", "data", "regularization", "training", "device", "experiment", "hydra/sweeper", "hydra/launcher"]
OPTIONS = [
    "mdaf_mamba",
    "boosted",
    "synthetic_tiny",
    "weak",
    "default",
    "cpu",
    "phase1",
    "null",
    "basic",
    "regularization",
]
PLAIN = st.one_of(
    st.integers().map(str),
    st.floats().map(repr),
    st.sampled_from(
        ["true", "False", "null", "nan", "-inf", "1e999", "0x10", "1_000", "[]", "{}", "", "''", '"', "'", "\\"]
    ),
    st.sampled_from(OPTIONS),
    st.text(max_size=12),
    st.sampled_from(["${seed}", "${", "${nothing}", "${oc.env:NOTHING}", "${now:%Y}", "${a:${b}}", "${..seed}", "???"]),
)


def _nested(values: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    several = st.lists(values, max_size=4).map(",".join)
    functions = st.sampled_from(
        ["choice", "range", "interval", "glob", "tag", "sort", "shuffle", "float", "int", "nothing"]
    )
    return st.one_of(
        several.map("[{}]".format),
        several.map(lambda inner: "{" + inner.replace(",", ":") + "}"),
        st.builds("{}({})".format, functions, several),
        several,
        values.map("'{}'".format),
    )


VALUES = st.recursive(PLAIN, _nested, max_leaves=5)


@st.composite
def words(draw: st.DrawFn, keys: list[str]) -> list[str]:
    """What somebody types after ``mdaf``: no flags, nothing that sends the run's folder elsewhere."""
    typed = []
    for _ in range(draw(st.integers(1, 4))):
        known = st.sampled_from(keys)
        misspelt = st.builds(lambda key, place: key[:place] + key[place + 1 :], known, st.integers(0, 12))
        key = draw(st.one_of(known, known, st.sampled_from(GROUPS), misspelt, st.text(max_size=8)))
        sign = draw(st.sampled_from(["", "", "", "", "+", "++", "~", "@"]))
        form = draw(
            st.sampled_from(["{sign}{key}={value}"] * 6 + ["{sign}{key}", "{sign}{key}=", "={value}", "{value}"])
        )
        typed.append(form.format(sign=sign, key=key, value=draw(VALUES)))
    return [word for word in typed if not word.startswith("-") and "hydra." not in word]


def _everything_before_the_data(cfg: DictConfig) -> float:
    validate(cfg)
    assert config_hash(cfg)
    hyperparameters(cfg)
    settings(cfg, torch.device("cpu"))
    return 0.0


@parts
def test_any_overrides_are_taken_or_refused_in_one_line(
    part: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mdaf.sweeper.job.run.run", _everything_before_the_data)
    conf.register()
    monkeypatch.setattr(conf, "register", lambda: None)  # done once for all, being half of what an input takes

    def check(typed: list[str]) -> None:
        said = io.StringIO()
        with redirect_stderr(said), redirect_stdout(io.StringIO()):
            code = run(tmp_path, *typed, "hydra.run.dir=run", tiny=())
        assert "Traceback" not in said.getvalue()
        complaints = [line for line in said.getvalue().splitlines() if line.startswith("error: ")]
        assert (code, len(complaints)) in ((0, 0), (2, 1)), (code, said.getvalue())

    fuzz(words(known_keys()), check, part, few=6)


# ---- checkpoints


def example_state() -> Saved:
    partial_epoch = PartialEpoch(torch.arange(3.0), torch.arange(30.0), 1.5)
    optimizer = [{"state": {0: {"step": torch.tensor(3.0), "exp_avg": torch.ones(40, 8)}}, "param_groups": []}]
    history = [{"epoch": 1, "val_auc": 0.5, "gate_mean": None}]
    return Saved(Position(2, 3), history, {"a": torch.ones(40, 8)}, optimizer, partial_epoch, 42, "c", "d")


def _plain(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return value.tolist()
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list) else value


@parts
def test_a_damaged_checkpoint_is_recognized_or_holds_what_was_saved(part: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / LAST
        save(path.parent, sealed(example_state().content()))
        whole, expected = path.read_bytes(), _plain(example_state().content())

        def check(damage: tuple[str, float, bytes]) -> None:
            kind, share, junk = damage
            place = int(share * len(whole))
            rest = {
                "cut": b"",
                "overwrite": whole[place + len(junk) :],
                "insert": whole[place:],
                "drop": whole[place + 7 :],
            }
            path.write_bytes(whole[:place] + junk + rest[kind])
            try:
                found = read(path)
            except DamagedError as error:
                told.append(str(error))
            else:
                assert _plain(found.content()) == expected

        told: list[str] = []
        kinds = st.sampled_from(["cut", "overwrite", "insert", "drop"])
        fuzz(st.tuples(kinds, st.floats(0, 1), st.binary(max_size=16)), check, part, few=60)
        assert told
        assert not any("\n" in line for line in told)


# ---- storage URLs

SECRET = "hunter2"
PIECES = st.one_of(
    st.sampled_from(
        ["sqlite", "journal", "postgresql", "mysql+pymysql", "oracle", "://", ":///", ":", "@", "/", "?", "&", "="]
    ),
    st.sampled_from(
        ["host", "5432", "studies.db", "..", "{", "}", "%40", "%", " ", "\\", "mode=memory", "timeout=x", "#"]
    ),
    st.text(max_size=6),
)


@parts
def test_any_storage_url_is_refused_in_one_line_and_creates_nothing(
    part: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    def check(url: str) -> None:
        with pytest.raises(StorageError) as error:
            open_storage(url, create=False)
        assert "\n" not in str(error.value)
        assert list(tmp_path.iterdir()) == []

    made_up = st.lists(PIECES, max_size=8).map("".join).filter(lambda url: not url.startswith(("postgresql", "mysql")))
    fuzz(made_up, check, part, few=60)


@parts
def test_a_password_in_a_url_is_never_shown(part: int) -> None:
    def check(parts_of_url: tuple[str, str, str, str]) -> None:
        scheme, user, around, rest = parts_of_url
        url = f"{scheme}://{user}:{around}{SECRET}@host/{rest}"
        assert SECRET not in masked(url)
        assert SECRET not in masked_text(f"could not connect to {url}, again")

    safe = st.text(st.characters(exclude_categories=["Z", "C"], exclude_characters=":/"), max_size=6)
    schemes = st.sampled_from(["postgresql", "postgresql+psycopg", "mysql+pymysql"])
    fuzz(st.tuples(schemes, safe, safe, safe), check, part, few=60)
