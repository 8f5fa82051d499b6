"""Plain references that any method should beat: the majority class and logistic regression."""
