"""Students: the grid of an experiment, what each student learns from, and their training."""
