"""Constants of a scenario, with intervals, from the logs that teams already have."""
