"""Engine: the workers that claim waiting deliveries, make them and write how they end."""
