"""The package nir, which is optional."""

from __future__ import annotations

from types import ModuleType


def nir_package() -> ModuleType:
    """The package nir; ImportError with the command that installs it."""
    try:
        import nir
    except ImportError as error:
        raise ImportError(
            f'NIR files need the package nir ({error}): pip install "evsim[nir]"'
        ) from error
    package: ModuleType = nir
    return package
