"""Ready-made callbacks that report to a job's trial: for Lightning and for the Trainer of Hugging Face.

Each module imports the library that it is for, so import only the one that you use.
"""
