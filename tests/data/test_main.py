from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from mdaf.data.__main__ import main
from tests.data.layouts import LAYOUTS
from tests.data.logs import ANCHOR, OTHER, write_rows


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of a command."""
    try:
        code = main(arguments)
    except SystemExit as end:
        code = int(end.code or 0)
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_prepare_prints_where_the_store_lies(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "prepare", "data=synthetic_tiny", f"data.root={root}")
    assert code == 0
    assert Path(out.strip()).parent == root
    assert (Path(out.strip()) / "store.json").is_file()


def test_inspect_shows_rows_bad_rows_rules_and_the_oracle(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "inspect", "data=synthetic_tiny", f"data.root={root}")
    assert code == 0
    for said in (
        "2,000",
        "Splits: training ends before validation",
        "click rate",
        "history length, median",
        "category recency",
        "popularity",
        "oracle",
    ):
        assert said in out


def test_inspect_writes_a_page_of_plots_that_needs_no_network(
    tmp_path: Path, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "pages" / "tiny.html"
    code, out, _ = run(capsys, "inspect", "--html", str(page), "data=synthetic_tiny", f"data.root={root}")
    assert code == 0
    assert out.endswith(f"{page}\n")
    text = page.read_text(encoding="utf-8")
    for title in ("Samples over time", "History lengths", "Click rate", "never seen", "Popularity", "oracle"):
        assert title in text
    assert '<script src="http' not in text
    assert [path.name for path in page.parent.iterdir()] == ["tiny.html"]
    typed = ("inspect", "--html", str(page), "data=synthetic_tiny", f"data.root={root}")
    assert run(capsys, *typed)[0] == 0
    page.write_text("<html>another page</html>", encoding="utf-8")
    code, _, said = run(capsys, *typed)
    assert code == 2
    assert "is there already, and is no page of this program; choose another name" in said
    assert "another page" in page.read_text(encoding="utf-8")


def test_inspect_says_so_where_no_row_is_bad(tmp_path: Path, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = write_rows(tmp_path / "log.csv", [*ANCHOR, *OTHER])
    _, out, _ = run(capsys, "inspect", "data=user_behavior", f"data.path={log}", f"data.root={root}")
    assert f"{len(ANCHOR) + len(OTHER)} rows read, none of them bad" in out


def test_inspect_shows_bad_rows_by_kind(tmp_path: Path, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = write_rows(tmp_path / "log.csv", [*ANCHOR, *OTHER, "1,2,3"])
    code, out, _ = run(
        capsys,
        "inspect",
        "data=user_behavior",
        f"data.path={log}",
        f"data.root={root}",
        "data.max_bad_fraction=0.5",
        "data.min_count={item: 1}",
    )
    assert code == 0
    assert "cut line" in out
    assert "item unseen in training, positives" in out


def test_a_generated_log_can_be_prepared_as_the_real_one_is(
    tmp_path: Path, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "generated"
    code, out, _ = run(capsys, "generate", "--to", str(folder), "data=synthetic_tiny")
    assert code == 0
    assert out.split() == [str(folder / "events.csv"), str(folder / "impressions.csv")]
    assert sorted(path.name for path in folder.iterdir()) == ["events.csv", "impressions.csv"]
    impressions = pl.read_csv(folder / "impressions.csv")
    assert dict(impressions["split"].value_counts().iter_rows()) == {"train": 2000, "validation": 500, "test": 500}
    code, _, err = run(
        capsys, "prepare", "data=user_behavior", f"data.path={folder / 'events.csv'}", f"data.root={root}"
    )
    assert (code, err) == (0, "")


@pytest.mark.parametrize("command", ["prepare", "inspect", "generate"])
def test_help_names_every_data_set_and_how_to_see_its_settings(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main([command, "--help"])
    assert ended.value.code == 0
    told = capsys.readouterr().out
    for name in ("user_behavior", "movielens", "taobao_ad,", "taobao_ad_joined", "event_log", "synthetic_taobao_long"):
        assert name in told
    assert "_common" not in told
    assert "--cfg job --package data" in told


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["data=user_behavior"], "data.path is not set"),
        (["data=user_behavior", "data.path=nowhere.csv"], "data.path=nowhere.csv does not exist"),
        (["data=user_behavior", "data.path='~nobody.here/log.csv'"], "the home folder is not known"),
        (["data=taobao_ad", "data.path='~nobody.here/log'"], "the home folder is not known"),
        (["data=user_behavior", f"data.path={'x' * 300}"], "cannot be read: File name too long"),
        (["data=event_log", "data.item_fields=[größe,a, b ü]"], """type 'data.item_fields=["größe",a,"b ü"]'"""),
        (["data=event_log", "data.list_fields={größe: ';'}"], "keys cannot have them here: write those in a file"),
        (["data=nothing"], "data=nothing: no such option"),
        (["data.bogus=1"], "data.bogus"),
        (["data.length=long"], "data.length=long: found long, expected a whole number"),
        (["data.length=0"], "data.length is 0"),
        (["data._target_=os.system"], "os.system"),
    ],
)
def test_a_bad_setting_is_one_line_and_exit_code_2(
    capsys: pytest.CaptureFixture[str], root: Path, overrides: list[str], said: str
) -> None:
    code, out, err = run(capsys, "prepare", f"data.root={root}", *overrides)
    assert code == 2
    assert out == ""
    assert said in err
    assert err.count("\n") == 1
    assert not root.exists()


def test_only_a_made_up_log_can_be_generated(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run(capsys, "generate", "--to", str(tmp_path), "data=user_behavior")
    assert code == 2
    assert "use data=synthetic" in err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (["prepair"], "did you mean prepare?"),
        (["inspect", "--htm1", "x"], "did you mean --html?"),
        (["prepare", "data=userbehavior"], "did you mean data=user_behavior?"),
        (["prepare", "data.qqqq=1"], "mdaf --cfg job shows all that there are"),
        ([], "required: prepare|inspect|generate"),
    ],
)
def test_a_misspelt_word_is_one_line_with_what_was_meant(
    typed: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        code = main(typed)
    except SystemExit as ended:
        code = int(ended.code or 0)
    err = capsys.readouterr().err
    assert (code, err.count("\n")) == (2, 1)
    assert said in err


@pytest.mark.parametrize("name", ["movielens_1m", "movielens_20m", "recbole"])
def test_the_folder_of_a_data_set_is_its_log_with_the_tables_that_lie_in_it(
    name: str, root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write, (file, *typed) = LAYOUTS[name]
    folder = tmp_path / "set"
    folder.mkdir()
    write(folder)
    (folder / "README").write_text("where it comes from\n")
    monkeypatch.chdir(folder)
    found = [
        run(capsys, "prepare", f"data={name}", path, *typed, f"data.root={root}")
        for path in (file, f"data.path={folder}")
    ]
    assert found[0][0] == 0
    assert found[1] == found[0]  # the same store
