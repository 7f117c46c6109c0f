"""encoding: spike trains from continuous signals of one or more channels.

Each encoder takes samples of shape (batch, time, channels), or a list of samples of different
lengths, each of shape (time, channels), and returns ``SpikeTrains``.  The values at one time
are a frame; frame n begins at ``n * frame_length`` ms.

- ``latency``: one unit per channel, one spike per frame; larger values spike earlier.
- ``level_crossing``: two units per channel, one spike for each step up or down.
- ``population``: several units per channel with Gaussian tuning curves, as Bohte et al. 2002.

``resample`` gives samples of different lengths the same number of frames.

No encoder drops or changes a value unless an argument says so.
"""

from evsim.encoding.latencies import latency
from evsim.encoding.level_crossings import level_crossing
from evsim.encoding.resampling import resample
from evsim.encoding.tuning_curves import population

__all__ = ["latency", "level_crossing", "population", "resample"]
