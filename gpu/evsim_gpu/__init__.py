"""evsim_gpu: the grid engine, the same networks on a time grid for large data.

Nothing is here yet; ``evsim`` itself, in continuous time, does not need it.
"""
