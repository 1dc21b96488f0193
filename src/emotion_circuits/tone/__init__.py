"""A tone as a goal: what is wanted of a text, within which bounds, and the search for the dose that gives it."""
