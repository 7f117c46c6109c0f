"""Pictures of activity, adjoints, delays, learning, decisions and confusions.

Every function draws into given axes or creates a figure, and returns the axes or the figure.
Figures belong to pyplot, so that ``matplotlib.pyplot.show()`` and notebooks show them; no display
is needed.  Figures drawn by callbacks of ``evsim.fit`` do not belong to pyplot, so that training
leaves no figures open and does not change pyplot's current figure.  ``save(figure, path)`` writes a
figure to a file.
"""

from evsim.plotting.activity import raster, rasters, traces
from evsim.plotting.confusion import confusion_matrix
from evsim.plotting.decisions import decision_map
from evsim.plotting.delays import delay_histogram, delay_matrices, delay_matrix
from evsim.plotting.learning import learning_curve
from evsim.plotting.referee import spike_errors
from evsim.plotting.study import study_means
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
    "spike_errors",
    "study_means",
    "traces",
]
