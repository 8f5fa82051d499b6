"""Random changes of training images, as pure functions inside of the compiled step."""
