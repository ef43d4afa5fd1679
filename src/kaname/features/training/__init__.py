"""Training sets: what a view would have said at the moment of each label."""
