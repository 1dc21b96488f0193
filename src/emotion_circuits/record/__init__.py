"""How work is kept: in parts that are computed anywhere, committed one by one, and never computed twice."""
