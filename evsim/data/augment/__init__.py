"""augment: shift, blend, jitter, dilation, thinning and delay lines of input spikes.

An augmentation is called with a dataset, a random generator and the duration of the trial.  It
returns a new dataset and counts the spikes that were lost or removed::

    generator = numpy.random.default_rng(seed)
    outcome = augment.Shift(channels=40)(data, generator, duration=1000.0)
    outcome.data, outcome.lost

Units are channels in a meaningful order, such as the frequencies of a cochlea.  A spike that moves
to a channel that the population does not have, or to a time outside the trial [0, duration], is
lost and counted.

The same state of the generator gives the same bits.  What an augmentation does to a sample depends
on that state and on the index of the sample.  It does not depend on the spikes of other samples, or
on the order in which simultaneous spikes are stored.  (Which samples are blended depends on the
classes of all samples.)  The spikes of the result are ordered by time, then by unit.

D is Mészáros, Knight, Nowotny, *Efficient event-based delay learning in spiking neural networks*;
L is Nowotny, Turner, Knight, *Loss shaping enhances exact gradient learning with EventProp*.
"""

from evsim.data.augment.base import Augmentation, Augmented, SampleAugmentation, Transformed
from evsim.data.augment.blending import Blend
from evsim.data.augment.channels import Jitter, Shift
from evsim.data.augment.delay_lines import DelayLine, delay_line
from evsim.data.augment.dilation import Dilate
from evsim.data.augment.thinning import Thin

__all__ = [
    "Augmentation",
    "Augmented",
    "Blend",
    "DelayLine",
    "Dilate",
    "Jitter",
    "SampleAugmentation",
    "Shift",
    "Thin",
    "Transformed",
    "delay_line",
]
