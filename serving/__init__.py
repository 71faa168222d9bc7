"""From a bundle to an answer: the scorer, its requests, and the service around it."""
