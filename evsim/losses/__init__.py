"""Losses: functions of a readout and the labels, with their derivatives.

A loss knows no engine.  Called with the readout's values it returns the loss of each sample and
the derivative of that loss with respect to each value; the batch loss is the mean over samples.
A loss that integrates over the trial defines a function of V instead.  A new loss is one class;
``evsim.testing.check_loss`` checks it.
"""

from evsim.losses.integrals import IntegralLoss, TimeAveragedCrossEntropy
from evsim.losses.loss import Loss, Outcome, check_targets
from evsim.losses.spike_times import FirstSpikeCrossEntropy, SpikeTimeMSE, TimeInvariantMSE
from evsim.losses.voltages import CrossEntropy, VoltageMSE, cross_entropy, log_softmax

__all__ = [
    "CrossEntropy",
    "FirstSpikeCrossEntropy",
    "IntegralLoss",
    "Loss",
    "Outcome",
    "SpikeTimeMSE",
    "TimeAveragedCrossEntropy",
    "TimeInvariantMSE",
    "VoltageMSE",
    "check_targets",
    "cross_entropy",
    "log_softmax",
]
