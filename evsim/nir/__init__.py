"""Networks in files of the Neuromorphic Intermediate Representation (NIR).

``read`` makes an evsim.Network of such a file, ``write`` makes a file of a Network.  The package
``nir`` is imported when one of them is called, not before.
"""

from evsim.nir.biases import with_bias
from evsim.nir.coarse_steps import CoarseStepWarning
from evsim.nir.reading import read
from evsim.nir.writing import write

__all__ = ["CoarseStepWarning", "read", "with_bias", "write"]
