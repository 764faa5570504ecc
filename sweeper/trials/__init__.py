"""What a trial is: who holds it, how it is tried again, how it ended, and what a job knows of it."""
