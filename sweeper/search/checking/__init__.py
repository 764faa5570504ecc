"""What is checked of a sweep before its first trial."""
