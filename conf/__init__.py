"""The Hydra tree: what can be chosen. YAML and structured schemas, no logic."""

from __future__ import annotations


def register() -> None:
    """Puts every schema into Hydra's config store, where the YAML's ``defaults`` find it, and no list of options."""
    from mdaf.conf import data_schema, model_schema, options, schema
    from mdaf.hydra_internals import list_options_alone

    for module in (schema, data_schema, model_schema):
        module.register()
    list_options_alone(options.is_option)
