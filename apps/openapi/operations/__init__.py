"""Every operation of the HTTP surface, one module a resource.

A new endpoint gets an entry in its resource's module, the type of its answer under `answers/`, and one example of its
request and answer under `examples/`; then `make openapi` writes docs/openapi.json. Tests say what is missing.
"""

import importlib
import pkgutil
from types import ModuleType


def resources() -> list[ModuleType]:
    """The modules, by name. Each has a TAG, its docstring describes it, and OPERATIONS are its operations."""
    names = sorted(found.name for found in pkgutil.iter_modules(__path__))
    return [importlib.import_module(f"{__name__}.{name}") for name in names]
