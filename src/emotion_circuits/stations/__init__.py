"""Stations of a study: a folder each, declared in its ``__init__``; :mod:`~emotion_circuits.stations.registry` lists them."""
