// What went wrong in a batch.  Each field is the number of the first value, sample or parameter
// that failed; NOTHING_FOUND if none did.  evsim_gpu/training/tally.py reads them.
#include "grid.cuh"

struct Failures {
    uint64 readout;           // a value of the readout that is not finite
    uint64 early_spike_term;  // a sample in which the term for early spikes is not finite
    uint64 loss;              // a sample whose loss is not finite
    uint64 value;             // a parameter to which a step gave a value that is not allowed
};
