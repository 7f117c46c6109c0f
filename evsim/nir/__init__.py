"""Networks in files of the Neuromorphic Intermediate Representation (NIR).

``read`` converts such a file to an evsim.Network, and ``write`` converts a Network to a file.  The
package ``nir`` is imported only when one of them is called.
"""

from evsim.nir.biases import with_bias
from evsim.nir.coarse_steps import CoarseStepWarning
from evsim.nir.reading import read
from evsim.nir.writing import write

__all__ = ["CoarseStepWarning", "read", "with_bias", "write"]
