"""All uses of private names of Hydra and OmegaConf in this project, and all that differs between Hydra 1.3 and 1.4.

To support another version, start here. The sweeper runs with both versions, this program's own commands with 1.4.
``tests/mdaf/test_hydra_internals.py`` tests each name with the installed version.
"""

from __future__ import annotations

import argparse
import copy
import functools
import logging
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import hydra
import omegaconf
from hydra import version
from hydra._internal.config_repository import ConfigRepository
from hydra._internal.core_plugins import basic_launcher
from hydra._internal.core_plugins.basic_launcher import BasicLauncher as BasicLauncher
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra._internal.core_plugins.importlib_resources_config_source import ImportlibResourcesConfigSource
from hydra._internal.utils import get_args_parser
from hydra.core.config_store import ConfigStore
from hydra.core.object_type import ObjectType
from hydra.core.override_parser.types import Override
from hydra.core.utils import JobReturn
from hydra.plugins.config_source import ConfigResult
from hydra.utils import instantiate
from omegaconf import DictConfig, ListConfig, OmegaConf, StringNode, grammar_parser, nodes
from omegaconf.base import Node

BASIC_SWEEPER = "hydra._internal.core_plugins.basic_sweeper.BasicSweeper"  # the ``_target_`` of a grid's sweeper


_all_options = ConfigRepository.get_group_options


def list_options_alone(is_option: Callable[[str], bool]) -> None:
    """Leaves everything that is no option out of every list of options that Hydra shows. The last call counts.

    Help, tab completion, ``glob(*)`` and the errors of Hydra all ask ``ConfigRepository`` for such a list; choosing and
    loading a file do not go through it.
    """

    def listed(
        self: ConfigRepository, group_name: str, results_filter: ObjectType | None = ObjectType.CONFIG
    ) -> list[str]:
        return [name for name in _all_options(self, group_name, results_filter) if is_option(name)]

    ConfigRepository.get_group_options = listed  # type: ignore[method-assign]


class ReadText(StringNode):
    """A text of a config that is read by ``read`` whenever it is set, also where configs are merged."""

    def read(self, text: Any) -> Any:
        """What the config is to hold where ``text`` was set."""
        return text

    def _validate_and_convert_impl(self, value: Any) -> Any:
        return self.read(super()._validate_and_convert_impl(value))

    def __deepcopy__(self, memo: dict[int, Any]) -> ReadText:  # OmegaConf's own would copy it as a StringNode
        copied = type(self)()
        self._deepcopy_impl(copied, memo)
        return copied


#: OmegaConf's classes of single values.
_VALUES: frozenset[Any] = frozenset(
    kind
    for kind in vars(nodes).values()
    if isinstance(kind, type) and issubclass(kind, nodes.ValueNode) and kind is not nodes.ValueNode
)


def compose_fast() -> None:
    """Makes composing and copying configs faster in this process. The results stay the same.

    ``copy.deepcopy`` of a config takes a quarter of its time: Hydra copies a whole config several times for each job.
    OmegaConf makes and checks every node anew for it; here the attributes of each node are copied. Each file of an
    installed package is parsed once: Hydra parses about twenty whenever it composes. So is the text of an
    interpolation, however often it is resolved. It is done for OmegaConf 2.4 alone, on which Hydra 1.4 stands.
    """
    if not CHECKS_TARGETS:
        return
    omegaconf.base.parse = omegaconf._utils.parse = _parsed_once
    ImportlibResourcesConfigSource._read_config = _read_once  # type: ignore[assignment,method-assign]
    for kind in _VALUES:
        kind.__deepcopy__ = _copied_value
    containers: tuple[Any, ...] = (DictConfig, ListConfig)
    for container in containers:
        container.__deepcopy__ = _copied_container


_parsed_once = functools.lru_cache(maxsize=1024)(grammar_parser.parse)  # whoever resolves it only reads the tree

_read = ImportlibResourcesConfigSource._read_config
_read_before: dict[tuple[Any, ...], ConfigResult] = {}


def _read_once(source: ImportlibResourcesConfigSource, file: Any) -> ConfigResult:
    """What a file of a package holds; another process may have changed it since it was read."""
    if not isinstance(file, Path):
        return _read(source, file)
    state = file.stat()
    # A copy that keeps its time of change (cp -p, rsync) has another time of arrival, st_ctime.
    key = (source.path, str(file), state.st_mtime_ns, state.st_ctime_ns, state.st_size)
    if key not in _read_before:
        _read_before[key] = _read(source, file)
    found = _read_before[key]
    return replace(found, provider=source.provider, config=copy.deepcopy(found.config), header=dict(found.header))


def _copied_value(node: Any, memo: dict[int, Any]) -> Any:
    """The value itself is not copied, as OmegaConf does it."""
    copied = _with_the_same_attributes(node, memo)
    copied.__dict__["_flags_cache"] = None
    return copied


def _copied_container(node: Any, memo: dict[int, Any]) -> Any:
    copied = _with_the_same_attributes(node, memo)
    state = copied.__dict__
    if state["_flags_cache"] is not None:
        state["_flags_cache"] = dict(state["_flags_cache"])
    if isinstance(content := state["_content"], dict):
        state["_content"] = {key: _child_of(copied, child, memo) for key, child in content.items()}
    elif isinstance(content, list):
        state["_content"] = [_child_of(copied, child, memo) for child in content]
    return copied


def _child_of(parent: Node, child: Node, memo: dict[int, Any]) -> Node:
    """A copy of ``child`` below ``parent``, which is a copy of its parent; other classes know how they are copied."""
    if id(child) in memo:
        copied = memo[id(child)]
    elif type(child) in _VALUES:
        copied = memo[id(child)] = _copied_value(child, memo)
    else:
        of = child.__dict__["_parent"]
        try:
            child.__dict__["_parent"] = None
            copied = copy.deepcopy(child, memo)
        finally:
            child.__dict__["_parent"] = of
    copied.__dict__["_parent"] = parent
    return copied


def _with_the_same_attributes(node: Any, memo: dict[int, Any]) -> Any:
    copied, metadata = object.__new__(type(node)), object.__new__(type(node.__dict__["_metadata"]))
    copied.__dict__.update(node.__dict__)
    metadata.__dict__.update(node.__dict__["_metadata"].__dict__)
    metadata.flags = None if metadata.flags is None else dict(metadata.flags)
    cache = metadata.resolver_cache
    metadata.resolver_cache = copy.deepcopy(cache, memo) if cache else defaultdict(dict)
    copied.__dict__["_metadata"] = metadata
    return copied


def launch_one_silently() -> None:
    """Hydra's own launcher does not say any more that it launches 1 jobs: a sweep has a launch for each trial."""
    logging.getLogger(basic_launcher.__name__).addFilter(_is_no_launch_of_one)


def _is_no_launch_of_one(record: logging.LogRecord) -> bool:
    return record.getMessage() != "Launching 1 jobs locally"


def command_line_parser() -> argparse.ArgumentParser:
    """Hydra's parser of command lines."""
    return get_args_parser()


def jobs_of_grid(overrides: list[Override]) -> list[list[str]]:
    """The overrides of each job of a grid, in the order in which Hydra's own sweeper launches them."""
    return [list(job) for batch in BasicSweeper.split_arguments(overrides, None) for job in batch]


def value_and_text(element: Any) -> tuple[Any, str]:
    """An element of a sweep as a value, and as the text that Hydra's own sweeper passes to a job."""
    return Override._convert_value(element), Override._get_value_element_as_str(element)


def returned(result: JobReturn) -> Any:
    """A job's return value. Does not raise the job's exception."""
    return result._return_value


def keeps_traceback(result: JobReturn) -> bool:
    """Whether a job's result from another process brings the traceback of its exception, which Hydra then raises."""
    return getattr(result, "_remote_traceback", None) is not None


# ---- what the versions do differently

#: Whether Hydra itself keeps configs from naming what is not allowed (since 1.4). 1.3 creates whatever is named.
CHECKS_TARGETS = find_spec("hydra._internal.execution_policy") is not None


def allowed_by_the_program() -> tuple[str, ...]:
    """What the running program's own code allows configs to name: ``hydra.main(execution_whitelist=...)``; * is all."""
    if not CHECKS_TARGETS:
        return ()
    from hydra._internal.execution_policy import _get_active_execution_whitelist
    from hydra.utils import UNSAFE_DISABLE_EXECUTION_CHECKS

    active: Any = _get_active_execution_whitelist()
    return ("*",) if active is UNSAFE_DISABLE_EXECUTION_CHECKS else tuple(active or ())


def main(config_path: str, config_name: str, names: Sequence[str]) -> Callable[[Callable[..., Any]], Any]:
    """``hydra.main`` of a program of ours, whose configs may name ``names``. It is called with Hydra 1.4 alone."""
    compose_fast()
    if not CHECKS_TARGETS:
        return hydra.main(config_path=config_path, config_name=config_name, version_base=None)
    return hydra.main(config_path=config_path, config_name=config_name, execution_whitelist=tuple(names))


def allowing(names: Sequence[str]) -> AbstractContextManager[Any]:
    """Within it configs may name ``names`` too."""
    if not CHECKS_TARGETS:
        return nullcontext()
    from hydra.utils import execution_whitelist

    return execution_whitelist(tuple(names))


def created(node: Any, names: Sequence[str]) -> Any:
    """What a config node describes. Hydra 1.4 refuses what is not in ``names``; with 1.3 the caller has to do so."""
    return instantiate(node, _execution_whitelist_=tuple(names)) if CHECKS_TARGETS else instantiate(node)


def changes_directory(config: Any) -> bool:
    """Whether jobs run in their own folders. A program that names no ``version_base`` to Hydra 1.3 has them do so."""
    chosen = config.hydra.job.chdir
    if chosen is None and not CHECKS_TARGETS:
        return not version.base_at_least("1.2")  # type: ignore[attr-defined]  # 1.4 does not know it
    return bool(chosen)


def register_resolver(name: str, resolver: Callable[..., Any], *, use_cache: bool = False) -> None:
    """Makes ``${name:...}`` known to OmegaConf, or replaces what was known."""
    if hasattr(OmegaConf, "register_new_resolver") and not CHECKS_TARGETS:
        OmegaConf.register_new_resolver(name, resolver, replace=True, use_cache=use_cache)
    else:
        OmegaConf.register_resolver(name, resolver, replace=True, use_cache=use_cache, annotation_validation="off")


def store_option(group: str, name: str, node: Any) -> None:
    """Stores an option of a config group, or replaces it."""
    replaces: dict[str, Any] = {"replace": True} if CHECKS_TARGETS else {}
    ConfigStore.instance().store(group=group, name=name, node=node, provider="mdaf-sweep", **replaces)


def start_ray(settings: Any) -> None:
    """Joins or starts Ray's cluster, as the launcher for Ray does. Raises ImportError if that is not installed."""
    from hydra_plugins.hydra_ray_launcher._launcher_util import start_ray as start

    start(settings)
