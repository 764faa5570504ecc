"""What to type instead of a word that is neither an override nor a flag: ``; did you mean model=dcnv3?``."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence

from hydra.core.override_parser.types import Override
from omegaconf import OmegaConf

from mdaf.conf import options
from mdaf.errors import did_you_mean
from mdaf.naming.config_keys import key_question, keys_of, keys_of_options


def instead_of_word(word: str, before: Sequence[str], following: Sequence[str], config: type) -> str:
    """The end of the error message about a word without an equals sign; empty if nothing similar is known.

    ``before``, ``following``  the words of the command line around it.
    ``config``                 the schema of the program's config.
    """
    if joined := _joined_list(word, before):
        return f"; the list before it has spaces, so it needs quotes; type {shlex.quote(joined)}"
    if spaced := _without_spaces(word, before, following):
        return f"; an override has no spaces around its equals sign; did you mean {spaced}?"
    value = following[0] if following and "=" not in following[0] and not following[0].startswith("-") else ""
    return _override_meant(word, value, config)


def instead_of_flag(flag: str, following: Sequence[str], config: type) -> str:
    """The same for a flag that Hydra does not have, where it is a key or a group: ``--seed 3``, ``--model=dcnv3``.

    Empty where the flag is similar to one of Hydra's.
    """
    name, equals, value = flag.lstrip("-").partition("=")
    if not equals and following and "=" not in following[0] and not following[0].startswith("-"):
        value = following[0]
    return _override_meant(name.replace("-", "_"), value, config)


def instead_of_add(override: Override) -> str:
    """What to type instead of ``+model=bst``: a group of this program has its option in the defaults already."""
    key, value = override.key_or_group, (override.input_line or "").partition("=")[2]
    return f"{override.input_line}: {key} has an option already, which is replaced without a +; type {key}={value}"


def instead_of_config_name(name: str) -> str:
    """The end of the error message about a config that is not there to start from."""
    for group in options.groups():
        if name in options.options_of(group):
            return f"; {name} is an option of {group}: type {group}={name}"
    return f"; one of your own needs --config-dir FOLDER too, where FOLDER/{name}.yaml lies"


def _joined_list(word: str, before: Sequence[str]) -> str | None:
    """The whole override of which a shell split the list, as ``key=[1, 3]``."""
    for number in range(len(before) - 1, -1, -1):
        if "=" in before[number]:
            whole = "".join([*before[number:], word])
            is_open = any(before[number].count(a) > before[number].count(b) for a, b in ("[]", "{}", "()"))
            return whole if is_open or before[number].endswith(",") else None
    return None


def _without_spaces(word: str, before: Sequence[str], following: Sequence[str]) -> str | None:
    """``key=value`` where ``key = value``, ``key= value`` or ``key =value`` was typed."""
    if before and before[-1].endswith("="):
        return f"{before[-1]}{word}"
    if following and following[0].startswith("="):
        value = following[0][1:] or (following[1] if following[1:] else "")
        return f"{word}={value}" if value and "=" not in value else None
    return None


def _override_meant(word: str, value: str, config: type) -> str:
    """The question for ``group.option``, ``group option``, ``option``, ``key: value`` and ``key value``."""
    groups = options.groups()
    keys = [*keys_of(OmegaConf.structured(config)), *keys_of_options()]
    name, inner = word, value
    if colon := re.fullmatch(r"([\w./]+): *(.+)", word):
        name, inner = colon[1], colon[2]
    if name in groups:
        return _option_meant(name, inner)
    if name in keys:
        return f"; did you mean {name}={inner or '...'}?"
    group, _, option = name.rpartition(".")
    if group in groups and (option in options.options_of(group) or group not in keys):
        return _option_meant(group, option)
    for group in groups:
        if name in options.options_of(group):
            return f"; did you mean {group}={name}?"
    ours = [group for group in groups if "/" not in group]
    if "." not in name and (group_meant := did_you_mean(name, ours)):
        return f"{group_meant[:-1]}={inner or '...'}?"
    return key_question(name, keys, inner or "...")


def _option_meant(group: str, option: str) -> str:
    known = options.options_of(group)
    if option in known:
        return f"; did you mean {group}={option}?"
    return did_you_mean(option, known, f"{group}=") or f"; {group}= takes one of {', '.join(known)}"
