"""augment: shift, blend, jitter, dilation, thinning and delay lines of input spikes.

An augmentation is called with a dataset, a random generator and the trial's duration, and
returns a new dataset with what became of the spikes::

    generator = numpy.random.default_rng(seed)
    outcome = augment.Shift(channels=40)(data, generator, duration=1000.0)
    outcome.data, outcome.lost

Units are channels in an order that means something, such as the frequencies of a cochlea.  A
spike whose channel is none of the population's, or whose time is outside the trial
[0, duration], is lost, and counted.

The same generator state gives the same bits.  What an augmentation does to one sample depends
on that state and on the sample's place in the data, not on the spikes of other samples, nor
on the order in which spikes of one time are stored.  (Which samples are blended depends on
the classes of all.)  The result of every augmentation is ordered by time, then unit.
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
