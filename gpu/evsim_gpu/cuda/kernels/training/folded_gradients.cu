// Gradients of dense synapses and columns, summed to gradients of the entries of trained
// parameters, in double.
#include "grid.cuh"
#include "training/block_sum.cuh"
#include "training/failures.cuh"
#include "training/trained_parameters.cuh"

// The gradients of all dense synapses and of all columns.
struct Gradients {
    const real *weight, *delay;
    const double *threshold, *tau_mem, *tau_syn;

    __device__ double of(const TrainedParameter &parameter, index_t synapse) const {
        const index_t index = parameter.first_synapse_or_column + synapse;
        if (parameter.kind == WEIGHT) return weight[index];
        if (parameter.kind == DELAY) return delay[index];
        return (parameter.kind == THRESHOLD     ? threshold
                   : parameter.kind == TAU_MEM ? tau_mem
                                               : tau_syn)[index];
    }
};

// Writes the gradients in the shapes of the parameters, and for each block the sum of their
// squares.  A row of `block_entries` gives the parameter of a block, its first entry and the entry
// after its last: many entries of one synapse each, or one entry that several synapses share.  Once
// training has stopped, the gradients do not change.
extern "C" __global__ void __launch_bounds__(SUM_THREADS)
    fold_gradients(const void *trained_parameters, const index_t *block_entries,
        const real *weight, const real *delay, const double *threshold, const double *tau_mem,
        const double *tau_syn, const uint64 *status, double *folded, double *block_squares) {
    if (status[0] != NOT_STOPPED) return;
    const index_t *const entries = block_entries + static_cast<index_t>(blockIdx.x) * 3;
    const TrainedParameter &parameter =
        static_cast<const TrainedParameter *>(trained_parameters)[entries[0]];
    const Gradients gradients = {weight, delay, threshold, tau_mem, tau_syn};
    const index_t shared_by = synapses_per_entry(parameter);
    double squares = 0;
    if (shared_by == 1) {
        for (index_t entry = entries[1] + threadIdx.x; entry < entries[2]; entry += SUM_THREADS) {
            const double gradient = gradients.of(parameter, synapse_of_entry(parameter, entry, 0));
            folded[parameter.first_entry + entry] = gradient;
            squares += gradient * gradient;
        }
        squares = sum_of_block(squares);
    } else {
        double sum = 0;
        for (index_t m = threadIdx.x; m < shared_by; m += SUM_THREADS)
            sum += gradients.of(parameter, synapse_of_entry(parameter, entries[1], m));
        sum = sum_of_block(sum);
        if (threadIdx.x == 0) folded[parameter.first_entry + entries[1]] = sum;
        squares = sum * sum;
    }
    if (threadIdx.x == 0) block_squares[blockIdx.x] = squares;
}
