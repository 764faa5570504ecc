"""Hydra's private names, each in the form that this project expects of the installed version."""

from __future__ import annotations

import copy
import importlib
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_module
from hydra._internal.config_repository import ConfigRepository
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.utils import JobReturn, JobStatus
from hydra.errors import InstantiationException
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.utils import UNSAFE_DISABLE_EXECUTION_CHECKS, execution_whitelist
from omegaconf import MISSING, OmegaConf
from omegaconf.base import Box, Node
from omegaconf.errors import GrammarParseError, ReadonlyConfigError

from mdaf import hydra_internals


def test_the_parser_of_the_command_line_takes_flags_and_overrides() -> None:
    read = hydra_internals.command_line_parser().parse_intermixed_args(["-m", "seed=1,2"])
    assert (read.multirun, read.overrides) == (True, ["seed=1,2"])


def test_a_grids_sweeper_has_the_name_that_configs_hold() -> None:
    module, _, name = hydra_internals.BASIC_SWEEPER.rpartition(".")
    assert issubclass(getattr(importlib.import_module(module), name), Sweeper)


def test_hydras_own_launcher_is_a_launcher() -> None:
    assert issubclass(hydra_internals.BasicLauncher, Launcher)


def test_a_grid_has_a_job_for_each_combination() -> None:
    typed = OverridesParser.create().parse_overrides(["a=1,2", "b=x", "c=u,v"])
    assert hydra_internals.jobs_of_grid(typed) == [
        ["a=1", "b=x", "c=u"],
        ["a=1", "b=x", "c=v"],
        ["a=2", "b=x", "c=u"],
        ["a=2", "b=x", "c=v"],
    ]


def test_an_element_of_a_sweep_has_a_value_and_a_text() -> None:
    [first, second] = OverridesParser.create().parse_override("a=choice([1,2],'x y')").value().list  # type: ignore
    assert hydra_internals.value_and_text(first) == ([1, 2], "[1,2]")
    assert hydra_internals.value_and_text(second) == ("x y", "x\\ y")


def test_what_a_job_returned_is_read_whether_it_failed_or_not() -> None:
    error = ValueError("no")
    for status, value in ((JobStatus.COMPLETED, 1), (JobStatus.FAILED, error)):
        result = JobReturn(status=status)
        result.return_value = value
        assert hydra_internals.returned(result) is value


@pytest.mark.skipif(find_spec("hydra_plugins.hydra_ray_launcher") is None, reason="hydra-ray-launcher is absent")
def test_rays_launcher_has_its_way_to_start() -> None:
    util: Any = importlib.import_module("hydra_plugins.hydra_ray_launcher._launcher_util")
    assert callable(util.start_ray)


def test_lists_of_options_come_from_the_repository_of_configs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ConfigRepository, "get_group_options", ConfigRepository.get_group_options)  # as it was, later
    hydra_internals.list_options_alone(lambda name: name in ("auto", "cpu"))
    with initialize_config_module("mdaf.conf"):
        assert GlobalHydra.instance().config_loader().get_group_options("device") == ["auto", "cpu"]


def test_what_the_programs_own_code_allows_is_known_while_it_runs() -> None:
    assert hydra_internals.allowed_by_the_program() == ()
    with execution_whitelist(["mine.*"]):
        assert hydra_internals.allowed_by_the_program() == ("mine.*",)
    with execution_whitelist(UNSAFE_DISABLE_EXECUTION_CHECKS):
        assert hydra_internals.allowed_by_the_program() == ("*",)


def test_a_program_of_ours_allows_its_configs_names_and_the_users() -> None:
    seen = []
    program = hydra_internals.main("pkg://mdaf.conf", "config", ["mine.A"])(
        lambda _: seen.append(hydra_internals.allowed_by_the_program())
    )
    with hydra_internals.allowing(["mine.B"]):
        program(OmegaConf.create())
    assert seen == [("mine.B", "mine.A")]


def test_what_a_node_describes_is_created_if_its_name_is_allowed() -> None:
    node = {"_target_": "collections.Counter", "a": 1}
    assert hydra_internals.created(node, ["collections.Counter"]) == {"a": 1}
    with pytest.raises(InstantiationException, match="is not in the Hydra execution whitelist"):
        hydra_internals.created(node, ["collections.abc.*"])


def test_resolvers_and_options_may_be_registered_twice() -> None:
    for answer in ("first", "second"):
        hydra_internals.register_resolver("of_a_test", lambda answer=answer: answer)
        hydra_internals.store_option("group_of_a_test", "option", {"key": answer})
    assert OmegaConf.create({"key": "${of_a_test:}"}).key == "second"
    assert ConfigStore.instance().load("group_of_a_test/option.yaml").node == {"key": "second"}
    OmegaConf.clear_resolver("of_a_test")
    del ConfigStore.instance().repo["group_of_a_test"]


def test_jobs_run_in_their_folders_where_the_config_says_so() -> None:
    for chosen, expected in ((True, True), (False, False), (None, False)):
        config = OmegaConf.create({"hydra": {"job": {"chdir": chosen}}})
        assert hydra_internals.changes_directory(config) is expected


def test_a_text_is_read_whenever_it_is_set_also_in_copies_and_merged_configs() -> None:
    class Shouted(hydra_internals.ReadText):
        def read(self, text: Any) -> Any:
            return text.upper() if isinstance(text, str) else text

    config = OmegaConf.create({"a": Shouted("x"), "b": "y"})
    merged = OmegaConf.merge(copy.deepcopy(config), {"a": "z", "b": "z"})
    assert (config.a, merged.a, merged.b) == ("X", "Z", "z")


class Size(Enum):
    SMALL = 1


@dataclass
class Typed:
    number: int = 3
    size: Size = Size.SMALL
    either: int | str = "a"
    maybe: float | None = None
    names: list[str] = field(default_factory=lambda: ["x"])
    missing: str = MISSING


def node_states(node: Any) -> Iterator[tuple[Any, ...]]:
    """What each node of a config is, in its order; also those of a union."""
    content = node._content if isinstance(node, Box) else node._val
    below = content.values() if isinstance(content, dict) else content if isinstance(content, list) else [content]
    inner = [child for child in below if isinstance(child, Node)]
    yield type(node), node._metadata, list(content) if isinstance(content, dict) else None if inner else content
    for child in inner:
        assert child._get_parent() is node
        yield from node_states(child)


def test_a_config_that_is_copied_fast_is_the_same_in_every_node_and_shares_none() -> None:
    config = OmegaConf.create(
        {"typed": Typed, "list": [1, {"a": None}, "???"], "text": "${list.0}", "opaque": 0, "none": None, "away": "???"}
    )
    config._set_flag("allow_objects", True)
    config.opaque = opaque = object()
    OmegaConf.set_struct(config, True)
    OmegaConf.set_readonly(config.typed, True)
    hydra_internals.compose_fast()
    copied = copy.deepcopy(config)
    assert list(node_states(copied)) == list(node_states(config))
    assert (copied.opaque, copied.text, copied.typed.size) == (opaque, 1, Size.SMALL)
    with pytest.raises(ReadonlyConfigError):
        copied.typed.number = 4
    OmegaConf.set_readonly(copied.typed, False)
    copied.typed.names.append("y")
    copied.list[0] = copied.typed.either = 5
    assert (config.typed.names, config.list[0], config.typed.either, config.text) == (["x"], 1, "a", 1)
    assert OmegaConf.is_readonly(config.typed)
    part = copy.deepcopy(config.typed)
    assert part._get_parent() is config  # where its interpolations are resolved


def test_a_file_of_a_package_is_read_once_and_again_where_it_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "configs_of_a_test"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "config.yaml").write_text("a: 1\nlist: [1]")
    monkeypatch.syspath_prepend(tmp_path)
    hydra_internals.compose_fast()
    with initialize_config_module("configs_of_a_test"):
        first = compose("config")
        first.a, first.list = 2, [2]
        parse = OmegaConf.load
        monkeypatch.setattr(OmegaConf, "load", lambda file: pytest.fail(f"{file} is parsed again"))
        assert compose("config") == {"a": 1, "list": [1]}
        monkeypatch.setattr(OmegaConf, "load", parse)
        (package / "config.yaml").write_text("a: 10\nlist: [1]")
        assert compose("config").a == 10
        times = (package / "config.yaml").stat()
        (package / "config.yaml").write_text("a: 20\nlist: [1]")  # as long as before, and of the same time, as by cp -p
        os.utime(package / "config.yaml", ns=(times.st_atime_ns, times.st_mtime_ns))
        assert compose("config").a == 20


def test_an_interpolation_is_resolved_where_it_stands_although_its_text_was_parsed_before() -> None:
    hydra_internals.compose_fast()
    text = "${.a} of ${oc.decode:'[${.a}, 3]'}"
    config = OmegaConf.create({"first": {"a": 1, "text": text}, "second": {"a": 2, "text": text}})
    assert (config.first.text, config.second.text) == ("1 of [1, 3]", "2 of [2, 3]")
    config.first.a = 4
    assert config.first.text == "4 of [4, 3]"
    for _ in range(2):
        with pytest.raises(GrammarParseError):
            OmegaConf.create({"text": "${oc.decode:'a}"})
