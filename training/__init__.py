"""From tables to a published bundle: training sets, the hazard model, its evaluation, and what publishes it."""
