// One step of a unit, backward: the transpose of neuron.cuh between grid points, EventProp at
// emissions (D Table 1, L Table 6).  D is Mészáros, Knight and Nowotny (delay learning with
// EventProp); L is Nowotny, Turner and Knight (loss shaping).
#include "adjoint_sources.cuh"
#include "neuron.cuh"

// Reports on emissions of a batch: how many had their lambda_V limited, and the first, by
// `emission_rank`, at which the threshold excess is not > 0 and nothing limits lambda_V.
struct EmissionReports {
    uint64 *limited, *grazing;
};

// The latest emission before step `end`, from the words of one column; -1 for none.
__device__ inline int latest_emission_before(const unsigned *words, int columns, int end) {
    for (int word = (end + 31) / 32 - 1; word >= 0; --word) {
        const unsigned fired =
            words[static_cast<index_t>(word) * columns] & bits_between(word * 32, 0, end);
        if (fired) return word * 32 + 31 - __clz(static_cast<int>(fired));
    }
    return -1;
}

// The rank of an emission among all of a batch: by sample, then by unit, then from the end of the
// trial.
__device__ inline uint64 emission_rank(int sample, int unit, int n, int steps, int units) {
    const uint64 unit_of_batch = static_cast<uint64>(sample) * units + unit;
    return unit_of_batch * (steps + 1) + (steps - n);
}

// The gradients of a unit with respect to its voltages, measured from rest.
struct VoltageGradients {
    double &threshold, &reset;
};

// Adds the contribution of the step from n to n + 1 to the gradients with respect to the time
// constants.  `adjoint` is that at n + 1, `state` is (V, I) at n, and `slopes` is the unit's row of
// GridLayout.time_constant_slopes.  While V is held, lambda_V is 0.
__device__ inline void add_time_constant_gradients(const Unit &unit, const Adjoint &adjoint,
    const real *slopes, real2 state, double &tau_mem_gradient, double &tau_syn_gradient) {
    const real of_v = -unit.tau_mem * adjoint.v, of_i = -unit.tau_syn * adjoint.i;
    tau_mem_gradient += of_v * (slopes[0] * state.x + slopes[1] * state.y);
    tau_syn_gradient += (of_v * slopes[2] + of_i * slopes[3]) * state.y;
}

// The transpose of a step of V and I.
__device__ inline void move_back(const Unit &unit, Adjoint &adjoint) {
    adjoint.i = unit.decay_syn * adjoint.i + unit.feed * adjoint.v;
    adjoint.v = unit.decay_mem * adjoint.v;
}

// The part of S_k that comes from V starting to move again at the reset, with the current and
// lambda_V there (D Table 1).  Also adds the contribution to the gradient of the reset.
__device__ inline real restart_gradient(
    const Unit &unit, real current, real lambda_v, double &reset_gradient) {
    reset_gradient -= unit.tau_mem * lambda_v;
    return (current - unit.reset) * lambda_v;
}

// Applies the events at grid point n that come after the arrivals there in time order: the sources
// and the end of a refractory period.  `current` is the column's, as the forward loop left it.
// Returns the part of lambda_V that does not apply to arrivals at n, see `add_sources`.
__device__ inline real apply_after_arrivals(const AdjointSources &sources, const Unit &unit,
    int sample, int column, int columns, int n, index_t moment, const real *current,
    const VoltageGradients &gradients, Adjoint &adjoint) {
    const int release =
        adjoint.latest_emission < 0 ? -1 : adjoint.latest_emission + unit.refractory;
    real unseen = 0;
    if (sources.reads(column) && n >= release)  // before `release` V is held over the next step
        unseen = add_sources(sources, unit, sample, column, n, moment, adjoint);
    if (unit.refractory > 0 && n == release) {
        adjoint.restart = restart_gradient(
            unit, current[static_cast<index_t>(n) * columns], adjoint.v, gradients.reset);
        adjoint.v = 0;
    }
    return unseen;
}

// lambda_V before an emission, S_k / (I - threshold), within the limit; then the jump of the rate
// regulariser (L 7).  On entry `spike_time_gradient` is S_k without the restart of V (D Table 1).
__device__ inline void pull_back_emission(const Unit &unit, real spike_time_gradient,
    real threshold_excess, real limit, real rate_jump, uint64 rank, const EmissionReports &reports,
    const VoltageGradients &gradients, Adjoint &adjoint) {
    if (unit.refractory == 0) {
        const real current = unit.threshold + threshold_excess;
        spike_time_gradient += restart_gradient(unit, current, adjoint.v, gradients.reset);
    } else {
        spike_time_gradient += adjoint.restart;
        adjoint.restart = 0;
    }
    const real size = spike_time_gradient < 0 ? -spike_time_gradient : spike_time_gradient;
    const real positive_excess = threshold_excess > 0 ? threshold_excess : real(0);
    if (size > limit * positive_excess) {
        adjoint.v = spike_time_gradient > 0 ? limit : -limit;
        atomicAdd(reports.limited, uint64(1));
    } else {
        adjoint.v = spike_time_gradient != 0 ? spike_time_gradient / threshold_excess : real(0);
    }
    if (!(threshold_excess > 0) && spike_time_gradient != 0 && !is_finite(limit))
        atomicMin(reports.grazing, rank);
    adjoint.v -= rate_jump;
    gradients.threshold += unit.tau_mem * adjoint.v;
}
