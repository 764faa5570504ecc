"""How far a sweep is: what a study says of it, how long the rest takes, and how that is shown."""
