"""Losses: functions of a readout and the labels, with their derivatives.

A loss does not depend on the engine.  Called with the readout's values, it returns the loss of each
sample and the derivative of that loss with respect to each value; the batch loss is the mean over
samples.  A loss that integrates over the trial defines a function of V instead.  A new loss is one
class; ``evsim.testing.check_loss`` checks it.  A weighted sum of losses is a loss.
"""

from evsim.losses.existence import Existence
from evsim.losses.integrals import IntegralLoss, TimeAveragedCrossEntropy
from evsim.losses.loss import Loss, Outcome, WeightedSum
from evsim.losses.spike_times import FirstSpikeCrossEntropy, SpikeTimeMSE, TimeInvariantMSE
from evsim.losses.targets import check_targets
from evsim.losses.voltages import CrossEntropy, VoltageMSE, cross_entropy, log_softmax

__all__ = [
    "CrossEntropy",
    "Existence",
    "FirstSpikeCrossEntropy",
    "IntegralLoss",
    "Loss",
    "Outcome",
    "SpikeTimeMSE",
    "TimeAveragedCrossEntropy",
    "TimeInvariantMSE",
    "VoltageMSE",
    "WeightedSum",
    "check_targets",
    "cross_entropy",
    "log_softmax",
]
