"""How work is kept: stations, folders and tables, in parts that are computed anywhere; nothing here knows a station by name."""
