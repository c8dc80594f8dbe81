"""Engine: runs deliveries with procrastinate, with its jobs in the same database as the deliveries."""
