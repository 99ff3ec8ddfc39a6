"""Errors of the models package.

ModelError            root
├── BundleError       a bundle is missing, cut, altered or made for something else
└── GraphError        a graph cannot run here: backend, provider, shapes or numbers differ
"""

from __future__ import annotations


class ModelError(Exception):
    """Root: tools print the message and exit 1."""


class BundleError(ModelError):
    """The bundle as a whole is refused."""


class GraphError(ModelError):
    """One graph cannot run on the asked backend."""
