"""A file for each kind of result: its record → blocks. `view.py` has them in the order of the page."""
