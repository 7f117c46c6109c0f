// One step of a unit's adjoints, shared by layers and recurrent components.
#include "grid.cuh"

// How a loss enters the adjoints of the columns from `first` on: evsim_gpu.device.Drive.
struct Entering {
    int first, width;  // of the columns that are read, none if width is 0
    int mean_steps;    // 0 for what is no mean
    const real *f, *g, *form;
    const real *cotangents;
    int has_peak;
    const int *peak_step;
    int has_phantom;
    const real *phantom;
    const int *moment_step;
    index_t moment_first;  // of the sample
    const real *moment_lambda_v, *moment_lambda_i;

    __device__ bool reads(int column) const { return column >= first && column < first + width; }

    __device__ index_t place_of(int sample, int column) const {
        return static_cast<index_t>(sample) * width + column - first;
    }
};

// What the backward loops of layers and of recurrent components are given alike.
#define ENTERING_PARAMETERS                                                               \
    int first, int width, int mean_steps, const real *f, const real *g, const real *form, \
        const real *cotangents, int has_peak, const int *peak_step, int has_phantom,      \
        const real *phantom, const int *moment_step, const index_t *moment_start,         \
        const real *moment_lambda_v, const real *moment_lambda_i
#define ENTERING_ARGUMENTS                                                                       \
    first, width, mean_steps, f, g, form, cotangents, has_peak, peak_step, has_phantom, phantom, \
        moment_step, moment_start[sample], moment_lambda_v, moment_lambda_i

// Emissions at which the limit acted, counted; and the first, by `rank_of`, that only grazed the
// threshold.
struct Incidents {
    word_t *limited, *grazing;
};

// lambda_V and lambda_I of a unit after a grid point n; going down from the end of the trial.
struct Adjoint {
    real v, i;
    real released;  // I lambda_V at the end of the refractory period that is being crossed
    int latest;     // the latest emission up to n; -1 for none
};

// The latest emission before step `before`, from the words of one column; -1 for none.
__device__ inline int latest_emission(const unsigned *words, int columns, int before) {
    for (int word = (before + 31) / 32 - 1; word >= 0; --word) {
        const unsigned fired =
            words[static_cast<index_t>(word) * columns] & bits_between(word * 32, 0, before);
        if (fired) return word * 32 + 31 - __clz(static_cast<int>(fired));
    }
    return -1;
}

// What the step from n to n + 1 adds to the gradients by time constants; the adjoints are those
// at n + 1.  While V is held at 0, so is lambda_V.
__device__ inline void add_time_constants(const Unit &unit, const Adjoint &adjoint,
    const real *slopes, real2 state, double &tau_mem, double &tau_syn) {
    const real by_v = -unit.tau_mem * adjoint.v, by_i = -unit.tau_syn * adjoint.i;
    tau_mem += by_v * (slopes[0] * state.x + slopes[1] * state.y);
    tau_syn += (by_v * slopes[2] + by_i * slopes[3]) * state.y;
}

// The transpose of a step of V and I.
__device__ inline void move_back(const Unit &unit, Adjoint &adjoint) {
    adjoint.i = unit.decay_syn * adjoint.i + unit.feed * adjoint.v;
    adjoint.v = unit.decay_mem * adjoint.v;
}

// What the readout's dependence on V and I at grid point n adds.  The moments of the sample not
// yet passed end at `moment`.
__device__ inline void add_drive(const Entering &entering, const Unit &unit, int sample, int column,
    int n, index_t moment, Adjoint &adjoint) {
    const int own = column - entering.first;
    const index_t place = entering.place_of(sample, column);
    if (n < entering.mean_steps) {
        const real f = entering.f[n], g = entering.g[n], *const form = entering.form + own;
        const int width = entering.width;
        const real cotangent = entering.cotangents[place];
        adjoint.v -= cotangent * (f * form[0] + g * form[width]) / unit.tau_mem;
        adjoint.i -= cotangent * (f * form[2 * width] + g * form[3 * width]) / unit.tau_syn;
    }
    if (entering.has_peak && n > 0 && entering.peak_step[place] == n)
        adjoint.v -= entering.cotangents[place] / unit.tau_mem;
    for (; moment >= entering.moment_first && entering.moment_step[moment] == n; --moment) {
        adjoint.v -= entering.moment_lambda_v[moment * entering.width + own];
        adjoint.i -= entering.moment_lambda_i[moment * entering.width + own];
    }
}

// The latest moment of a sample before grid point n, or one less than its first.
__device__ inline index_t moment_before(const Entering &entering, int n, index_t moment) {
    while (moment >= entering.moment_first && entering.moment_step[moment] >= n) --moment;
    return moment;
}

// The adjoints at grid point n as arrivals there find them: `current` is the column's, with I at
// the end of a refractory period.
__device__ inline void settle_at(const Entering &entering, const Unit &unit, int sample, int column,
    int columns, int n, index_t moment, const real *current, Adjoint &adjoint) {
    const int free = adjoint.latest < 0 ? -1 : adjoint.latest + unit.refractory;
    if (entering.reads(column) && n >= free)  // before, V stays at 0 over the next step
        add_drive(entering, unit, sample, column, n, moment, adjoint);
    if (unit.refractory > 0 && n == free) {
        adjoint.released = current[static_cast<index_t>(n) * columns] * adjoint.v;
        adjoint.v = 0;
    }
}

// The phantom spike of an output that is silent: an emission at the end of the trial, and so before
// the arrivals there.
__device__ inline void add_phantom(const Entering &entering, const Unit &unit, int sample,
    int column, double &threshold, Adjoint &adjoint) {
    if (!entering.has_phantom || !entering.reads(column)) return;
    const real phantom = entering.phantom[entering.place_of(sample, column)];
    adjoint.v += phantom;
    threshold += unit.tau_mem * phantom;
}

// lambda_V before an emission, from what is known of the derivative by its time: D Table 1, within
// the limit; the rate jump (L 7) comes last.  `rank` is the emission's `rank_of`.
__device__ inline void pull_back_emission(const Unit &unit, real slope, real drive, real limit,
    real rate_jump, word_t rank, const Incidents &incidents, double &threshold, Adjoint &adjoint) {
    if (unit.refractory == 0) {
        slope += (unit.threshold + drive) * adjoint.v;
    } else {
        slope += adjoint.released;
        adjoint.released = 0;
    }
    const real size = slope < 0 ? -slope : slope, positive = drive > 0 ? drive : real(0);
    if (size > limit * positive) {
        adjoint.v = slope > 0 ? limit : -limit;
        atomicAdd(incidents.limited, word_t(1));
    } else {
        adjoint.v = slope != 0 ? slope / drive : real(0);
    }
    if (!(drive > 0) && slope != 0 && !is_finite(limit)) atomicMin(incidents.grazing, rank);
    adjoint.v -= rate_jump;
    threshold += unit.tau_mem * adjoint.v;
}

// Where an emission stands among all of a batch: by sample, unit, and from the end of the trial.
__device__ inline word_t rank_of(int sample, int unit, int n, int steps, int units) {
    const word_t own = static_cast<word_t>(sample) * units + unit;
    return own * (steps + 1) + (steps - n);
}
