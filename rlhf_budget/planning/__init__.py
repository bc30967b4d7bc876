"""From a scenario to a plan: the optimum with what a person needs to act on it."""
