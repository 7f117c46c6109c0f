"""Training whole epochs on a GPU, where all arrays stay.

trainer             ResidentTrainer, which runs the epochs
data                the data set and the batches made from it
augmented_samples   augmentation, without making the spikes on the host
losses              the losses of a batch
parameters          the trained parameters and the steps of their optimisers
unit_parameters     trained thresholds and time constants
tally               counts, losses and failures of an epoch
failures            the errors that these lead to
"""
