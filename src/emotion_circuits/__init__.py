"""An instrument for studying how language models handle emotion."""

from importlib.metadata import version

__version__ = version("emotion-circuits")
