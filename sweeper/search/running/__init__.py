"""Where the jobs of a sweep run: in this process, in workers, in slots of a launcher, on a cluster."""
