"""Names that users type: config keys, classes that a config may name, studies; and names of former versions."""
