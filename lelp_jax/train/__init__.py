"""Training: pure steps, and the loop that runs a fleet of members through them."""
