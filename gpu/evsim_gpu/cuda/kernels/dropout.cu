// Dropout of input spikes; that of emissions is part of the forward time loop.
#include "dropout.cuh"
#include "grid.cuh"

// The steps of input spikes as the other kernels read them: those of dropped spikes become ~step.
extern "C" __global__ void drop_inputs(int samples, int units, const int *step,
    const index_t *start, const uint64 *keys, const double *drop_rate, int *kept) {
    const index_t list = thread_of_grid();
    if (list >= static_cast<index_t>(samples) * units) return;
    const int sample = static_cast<int>(list / units), unit = static_cast<int>(list % units);
    for (index_t spike = start[list]; spike < start[list + 1]; ++spike) {
        const int number = static_cast<int>(spike - start[list]);
        const bool dropped = is_dropped(keys[sample], unit, number, drop_rate[unit]);
        kept[spike] = dropped ? ~step[spike] : step[spike];
    }
}
