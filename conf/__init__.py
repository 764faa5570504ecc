"""The Hydra tree: what can be chosen. YAML and structured schemas, no logic."""

from __future__ import annotations


def register() -> None:
    """Puts every schema into Hydra's config store, where the YAML's ``defaults`` find it, and no list of options.

    Only once for each store: a schema takes some milliseconds to be converted.
    """
    from hydra.core.config_store import ConfigStore

    from mdaf.conf import data_schema, model_schema, options, schema
    from mdaf.hydra_internals import list_options_alone

    modules = (data_schema, model_schema, schema)  # what stands last in the store says that all are there
    if f"{schema.LAST}.yaml" in ConfigStore.instance().repo:
        return
    for module in modules:
        module.register()
    list_options_alone(options.is_option)
