"""Surveys: what shows only in the data as a whole. See `contract`."""
