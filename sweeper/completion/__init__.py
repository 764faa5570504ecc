"""Tab completion of ``mdaf`` and of the other console scripts, for bash, zsh and fish."""
