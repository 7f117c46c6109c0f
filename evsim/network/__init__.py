"""The description of a network: populations, connections, parameters and spike trains."""

from evsim.network.connections import Connection
from evsim.network.dropout import Dropout
from evsim.network.initialisers import Constant, Gamma, Initialiser, Normal, Uniform
from evsim.network.network import Network
from evsim.network.parameters import Parameter, sparse_entries
from evsim.network.populations import LI, LIF, Input, Population
from evsim.network.spike_trains import SpikeTrains

__all__ = [
    "LI",
    "LIF",
    "Connection",
    "Constant",
    "Dropout",
    "Gamma",
    "Initialiser",
    "Input",
    "Network",
    "Normal",
    "Parameter",
    "Population",
    "SpikeTrains",
    "Uniform",
    "sparse_entries",
]
