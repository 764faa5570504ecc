"""Looks: differences that are tested after 4, 6, 8 and 10 pairs, with one error for all tests together.

Pure statistics of numbers on numpy and scipy. What the numbers are, and which of two is better, is the caller's.
"""
