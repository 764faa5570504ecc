"""What is said of runs beside their differences: criteria, pace, versions, and what the data can support."""
