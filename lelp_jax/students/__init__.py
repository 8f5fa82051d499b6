"""Students: which are wanted, what they learn from, and the fleets that train them."""
