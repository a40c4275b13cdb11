"""Fan-out: Spot's gateway against nginx with nchan, the same client, the same events, one core."""
