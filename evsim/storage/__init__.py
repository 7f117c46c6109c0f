"""Networks, arrays and training runs in files, without pickle: loading a file runs no code."""

from evsim.storage.arrays import checksum, load_arrays, save_arrays
from evsim.storage.description import describe, differences
from evsim.storage.files import StorageError, write_atomically
from evsim.storage.networks import load_network, network_arrays, network_structure, save_network
from evsim.storage.run_folder import RunFolder, load

__all__ = [
    "RunFolder",
    "StorageError",
    "checksum",
    "describe",
    "differences",
    "load",
    "load_arrays",
    "load_network",
    "network_arrays",
    "network_structure",
    "save_arrays",
    "save_network",
    "write_atomically",
]
