"""Measurements on real and simulated data: figures beside those of a named peer, in the same run. No timed tests."""
