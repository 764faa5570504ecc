"""Imported before a process forks: numba, whose tables of types and functions take a second to fill."""

from numba.core.registry import cpu_target

cpu_target.typing_context.refresh()
cpu_target.target_context.refresh()
