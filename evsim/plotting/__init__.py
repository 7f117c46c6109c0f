"""Pictures of activity, adjoints, delays, learning, decisions and confusions.

Every function either draws into the axes it is given or makes a figure, and returns what it
drew into.  Figures are made without pyplot: nothing global changes, and no display is needed.
``save(figure, path)`` writes one.
"""

from evsim.plotting.activity import raster, rasters, traces
from evsim.plotting.confusion import confusion_matrix
from evsim.plotting.decisions import decision_map
from evsim.plotting.delays import delay_histogram, delay_matrices, delay_matrix
from evsim.plotting.learning import learning_curve
from evsim.plotting.style import save

__all__ = [
    "confusion_matrix",
    "decision_map",
    "delay_histogram",
    "delay_matrices",
    "delay_matrix",
    "learning_curve",
    "raster",
    "rasters",
    "save",
    "traces",
]
