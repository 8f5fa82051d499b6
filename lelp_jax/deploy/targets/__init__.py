"""The projection alone: a teacher's arrays in, targets for students of any framework out."""
