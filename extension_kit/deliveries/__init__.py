"""What goes out: an event, once for each listener that wants it, until it has arrived or is given up."""
