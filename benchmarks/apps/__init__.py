"""The servers that are measured against each other: each answers an event with 200 and does nothing else with it."""
