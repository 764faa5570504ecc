"""The verdict on a study of any Hydra program, from the values of its runs alone."""
