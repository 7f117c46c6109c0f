// What went wrong in a batch, the first of each kind: the number of a value, a sample or a
// parameter; all ones for none.  evsim_gpu.training.tally reads them.
#include "grid.cuh"

struct LossIncidents {
    word_t readout;  // a value that is no finite number
    word_t pull;     // a sample whose pull to early spikes is no finite number
    word_t loss;     // a sample whose loss is no finite number
    word_t value;    // a parameter that a step took to a value it may not have
};
