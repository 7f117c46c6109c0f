// Whether a step of the optimisers may follow a batch, and how much gradients are clipped.
#include "grid.cuh"
#include "training/block_sum.cuh"
#include "training/failures.cuh"
#include "training/trained_parameters.cuh"

// Stops training at the first reason against a step, in the order in which training batch by batch
// finds them: `status` receives the Stop, the batch, and the number of what failed.  `scale`
// receives the factor that clips the gradient of each parameter; the norm of the gradient is added
// to `gradient_norms`.
extern "C" __global__ void __launch_bounds__(SUM_THREADS)
    check_batch(int batch, int parameters, const void *trained_parameters,
        const double *block_squares, const uint64 *overflow, const uint64 *grazing,
        const uint64 *limited, const void *failures, uint64 *status, uint64 *limited_of_epoch,
        uint64 *clipped, double *gradient_norms, double *scale) {
    if (status[0] != NOT_STOPPED) return;
    uint64 infinite_gradient = NOTHING_FOUND;
    for (int number = 0; number < parameters; ++number) {
        const TrainedParameter &parameter =
            static_cast<const TrainedParameter *>(trained_parameters)[number];
        double squares = 0;
        for (int block = threadIdx.x; block < parameter.blocks; block += SUM_THREADS)
            squares += block_squares[parameter.first_block + block];
        squares = sum_of_block(squares);
        const double norm = sqrt(squares);
        if (!(squares - squares == 0) && infinite_gradient == NOTHING_FOUND)
            infinite_gradient = number;
        if (threadIdx.x != 0) continue;
        scale[number] = norm > parameter.clip ? parameter.clip / norm : 1;
        gradient_norms[number] += norm;
    }
    if (threadIdx.x != 0) return;
    const Failures found = *static_cast<const Failures *>(failures);
    const uint64 failed[] = {NOTHING_FOUND, overflow[0], found.readout, found.early_spike_term,
        grazing[0], found.loss, infinite_gradient, NOTHING_FOUND};
    int reason = found.value != NOTHING_FOUND ? VALUE : OVERFLOW;
    while (reason < VALUE && failed[reason] == NOTHING_FOUND) ++reason;
    if (reason < VALUE || found.value != NOTHING_FOUND) {
        // A wrong value is found at the batch after the step that made it.
        status[1] = reason == VALUE ? batch - 1 : batch;
        status[2] = reason == VALUE ? found.value : failed[reason];
        status[0] = reason;
        return;
    }
    *limited_of_epoch += *limited;
    for (int number = 0; number < parameters; ++number) clipped[number] += scale[number] != 1;
}
