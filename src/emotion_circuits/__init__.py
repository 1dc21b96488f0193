"""An instrument for studying how language models handle emotion.

What this module names is the public face: it is documented, tested and kept; everything else may change. The list, with types, is
``__init__.pyi``; a name's room is imported when the name is first used.

Example:
    >>> import emotion_circuits as ec
    >>> ec.fdr({"a": 0.01, "b": 0.04}, family="two").q
    {'a': 0.02, 'b': 0.04}
"""

from typing import Any

import lazy_loader

_attached, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)


def __getattr__(name: str) -> Any:
    if name == "__version__":
        # Reading a package's metadata takes longer than everything else that help on the command line needs.
        from importlib.metadata import version

        return version("emotion-circuits")
    return _attached(name)
