"""What a study found, drawn: figures and the self-contained HTML page."""
