"""What leaves a run: exported students, and targets for students of other frameworks."""
