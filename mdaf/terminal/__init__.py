"""What is shown: on a terminal, in a pipe, as a table, and how far a long piece of work is."""
