"""Pictures of activity, adjoints, delays, learning, decisions and confusions.

Every function either draws into the axes it is given or makes a figure, and returns what it
drew into.  Figures are pyplot's, so that ``matplotlib.pyplot.show()`` and notebooks show them; no
display is needed.  Those that callbacks of ``evsim.fit`` draw are not: training leaves no figures
open, and pyplot's current figure stays the same.  ``save(figure, path)`` writes one to a file.
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
