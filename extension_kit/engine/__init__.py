"""Who runs deliveries: procrastinate, with its jobs in the same database as ours."""
