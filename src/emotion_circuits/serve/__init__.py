"""An OpenAI-compatible server that steers: many texts at once, each with its own dose, and proof in every answer."""
