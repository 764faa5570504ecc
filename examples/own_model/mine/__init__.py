"""A model, a faster form of it, and a source of logs: code that lies in no package of the project."""
