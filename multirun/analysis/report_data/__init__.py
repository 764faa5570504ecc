"""What report.json holds: what the report is about, its figures, and the runs that they come from."""
