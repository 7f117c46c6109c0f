// What went wrong in a batch, and why training stopped.
#include "grid.cuh"

// Each field is the number of the first value, sample or parameter that failed, NOTHING_FOUND if
// none did.
struct Failures {
    uint64 readout;           // a value of the readout that is not finite
    uint64 early_spike_term;  // a sample in which the term for early spikes is not finite
    uint64 loss;              // a sample whose loss is not finite
    uint64 value;             // a parameter to which a step gave a value that is not allowed
};

// Why training stopped; STOPS in evsim_gpu/training/failures.py has the same order.
enum Stop { NOT_STOPPED, OVERFLOW, READOUT, EARLY_SPIKE_TERM, GRAZING, LOSS, GRADIENT, VALUE };
