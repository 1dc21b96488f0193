"""How work is kept: stations, their folders and tables, keys, manifests; nothing here knows a particular station."""
