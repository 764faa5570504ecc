"""The job's side of a trial: its link to the study, mdaf.attach(), and the copy of its run folder."""
