"""Hides passwords in the URLs of study databases in everything that is printed or written to a file.

Importing this module replaces ``OmegaConf.to_yaml``. From then on passwords are hidden in every config that is printed
or written as YAML, by Hydra as well. So no file ever holds a password, not even if the process is killed.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Mapping
from typing import Any

from omegaconf import OmegaConf

_PASSWORD_IN_QUERY = re.compile(
    r"([?&;](?:\w*(?:password|passwd|pwd|secret|token)\w*|access_key|key)\\?=)[^&;\s'\"]+", re.I
)
# The path of a webhook is what its sender proves itself with.
_WEBHOOK = re.compile(r"(\bwebhook['\"]?\\?[=:]\s*['\"]?\w+\\?://[^/\s'\"]+/)[^\s'\",\]]+")


def masked(url: str) -> str:
    """``url`` with every password replaced by ``***``. If the URL is ambiguous, more than the password is hidden."""
    hidden = re.sub(r"^([^:/]+://[^:/]*):.*@", r"\1:***@", url, flags=re.S)
    return _PASSWORD_IN_QUERY.sub(r"\1***", hidden)


def masked_text(text: str) -> str:
    """Free text, such as a traceback, with the passwords of all URLs inside it replaced by ``***``."""
    # In the overrides of a grid Hydra writes a backslash before each colon.
    hidden = re.sub(r"\b([A-Za-z][\w+.-]*\\?://[^\s:/]*):\S*@", r"\1:***@", text)
    return _WEBHOOK.sub(r"\1***", _PASSWORD_IN_QUERY.sub(r"\1***", hidden))


def masked_value(text: str) -> str:
    """One value of a config, or one override, with passwords replaced by ``***``. A password may contain blanks."""
    hidden = re.sub(r"(\\?://[^\s:/@]*):.*@", r"\1:***@", text, flags=re.S)
    return _WEBHOOK.sub(r"\1***", _PASSWORD_IN_QUERY.sub(r"\1***", hidden))


def masked_values(node: Any) -> Any:
    """Nested mappings and lists with the passwords of all URLs in them replaced by ``***``."""
    if isinstance(node, Mapping):
        return {key: _of_key(key, value) for key, value in node.items()}
    if isinstance(node, list | tuple):
        return [masked_values(value) for value in node]
    return masked_value(node) if isinstance(node, str) else node


def _of_key(key: Any, value: Any) -> Any:
    """A value of a mapping, masked by what its key says of it."""
    if key == "webhook" and isinstance(value, str):
        return masked_value(f"webhook={value}").removeprefix("webhook=")
    return masked_values(value)


def _masking(to_yaml: Callable[..., str]) -> Callable[..., str]:
    @functools.wraps(to_yaml)
    def masked_yaml(cfg: Any, *, resolve: bool = False, sort_keys: bool = False) -> str:
        plain = OmegaConf.to_container(cfg, resolve=resolve, enum_to_str=True) if OmegaConf.is_config(cfg) else cfg
        hidden = masked_values(plain)
        if hidden == plain:
            return to_yaml(cfg, resolve=resolve, sort_keys=sort_keys)
        return to_yaml(OmegaConf.create(hidden), sort_keys=sort_keys)

    masked_yaml.masks = True  # type: ignore[attr-defined]
    return masked_yaml


if not hasattr(OmegaConf.to_yaml, "masks"):
    OmegaConf.to_yaml = staticmethod(_masking(OmegaConf.to_yaml))  # type: ignore[method-assign]
