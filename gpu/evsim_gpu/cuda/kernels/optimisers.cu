// From gradients of synapses and units to steps of the parameters, in double: what evsim.optim and
// evsim.training.trained_parameters do on the host.
#include "grid.cuh"
#include "incidents.cuh"

// A parameter in training: evsim_gpu.training.parameters.TRAINED, which explains it.
struct Trained {
    index_t first, size, place, spread;
    double beta1, beta2, epsilon, weight_decay, clip, low[2], high[2];
    int pre, post, rows, columns, kind, method, bounds, first_task, tasks, padding;
};

enum Kind { WEIGHT, DELAY, THRESHOLD, TAU_MEM, TAU_SYN };  // those of units come last
enum Method { SGD, MOMENTUM, ADAM };

// Why training stopped, beside the batch and what it was about.
enum Stop { NOT, OVERFLOW, READOUT, PULL, GRAZING, LOSS, GRADIENT, VALUE };

constexpr int SUM_THREADS = 256;  // threads of a block that sums
constexpr word_t NONE = ~0ull;

// The sum over a block, always added in the same tree.
__device__ inline double sum_of_block(double value) {
    __shared__ double sums[SUM_THREADS];
    const int thread = static_cast<int>(threadIdx.x);
    sums[thread] = value;
    __syncthreads();
    for (int half = SUM_THREADS / 2; half > 0; half /= 2) {
        if (thread < half) sums[thread] += sums[thread + half];
        __syncthreads();
    }
    const double total = sums[0];
    __syncthreads();
    return total;
}

// Which of the parameters holds number `entry`, counted over the `first` or the `spread` of all.
__device__ inline int parameter_of(
    const Trained *trained, int parameters, index_t Trained::*first, index_t entry) {
    int own = 0;
    while (own + 1 < parameters && trained[own + 1].*first <= entry) ++own;
    return own;
}

// Which of a parameter's entries a pair of source and target unit has.
__device__ inline index_t entry_of(const Trained &own, index_t pair) {
    const index_t row = own.rows == 1 ? 0 : pair % own.post;
    const index_t column = own.columns == 1 ? 0 : pair / own.post;
    return row * own.columns + column;
}

// Gradients of all pairs, and of all columns.
struct Gradients {
    const real *weight, *delay;
    const double *threshold, *tau_mem, *tau_syn;

    __device__ double of(const Trained &own, index_t pair) const {
        const index_t place = own.place + pair;
        if (own.kind == WEIGHT) return weight[place];
        if (own.kind == DELAY) return delay[place];
        return (own.kind == THRESHOLD ? threshold : own.kind == TAU_MEM ? tau_mem : tau_syn)[place];
    }
};

// How many pairs share an entry, and the m-th of them.
__device__ inline index_t sharers(const Trained &own) {
    return static_cast<index_t>(own.rows == 1 ? own.post : 1) * (own.columns == 1 ? own.pre : 1);
}

__device__ inline index_t sharer(const Trained &own, index_t entry, index_t m) {
    const index_t wide = own.rows == 1 ? own.post : 1;
    const index_t target = own.rows == 1 ? m % wide : entry / own.columns;
    const index_t source = own.columns == 1 ? m / wide : entry % own.columns;
    return source * own.post + target;
}

// The gradients in the parameters' own shapes, and of each block the sum of their squares.  A task
// is a parameter, its first entry and the one after the last: many that have a pair each, or one
// that pairs share.  Once training has stopped they stay as they were.
extern "C" __global__ void __launch_bounds__(SUM_THREADS)
    fold_gradients(const void *trained, const index_t *tasks, const real *weight, const real *delay,
        const double *threshold, const double *tau_mem, const double *tau_syn,
        const word_t *status, double *folded, double *partial) {
    if (status[0] != NOT) return;
    const index_t *const task = tasks + static_cast<index_t>(blockIdx.x) * 3;
    const Trained &own = static_cast<const Trained *>(trained)[task[0]];
    const Gradients gradients = {weight, delay, threshold, tau_mem, tau_syn};
    const index_t shared_by = sharers(own);
    double squares = 0;
    if (shared_by == 1) {
        for (index_t entry = task[1] + threadIdx.x; entry < task[2]; entry += SUM_THREADS) {
            const double value = gradients.of(own, sharer(own, entry, 0));
            folded[own.first + entry] = value;
            squares += value * value;
        }
        squares = sum_of_block(squares);
    } else {
        double sum = 0;
        for (index_t m = threadIdx.x; m < shared_by; m += SUM_THREADS)
            sum += gradients.of(own, sharer(own, task[1], m));
        sum = sum_of_block(sum);
        if (threadIdx.x == 0) folded[own.first + task[1]] = sum;
        squares = sum * sum;
    }
    if (threadIdx.x == 0) partial[blockIdx.x] = squares;
}

// Whether a batch may be followed by a step: the first reason against it, in the order in which
// the host would meet them; and by how much each gradient is scaled down.
extern "C" __global__ void __launch_bounds__(SUM_THREADS)
    check_batch(int batch, int parameters, const void *trained, const double *partial,
        const word_t *overflow, const word_t *grazing, const word_t *limited, const void *incidents,
        word_t *status, word_t *limited_in_all, word_t *clipped, double *scale) {
    if (status[0] != NOT) return;
    word_t wrong = NONE;
    for (int number = 0; number < parameters; ++number) {
        const Trained &own = static_cast<const Trained *>(trained)[number];
        double squares = 0;
        for (int task = threadIdx.x; task < own.tasks; task += SUM_THREADS)
            squares += partial[own.first_task + task];
        squares = sum_of_block(squares);
        const double norm = sqrt(squares);
        if (!(squares - squares == 0) && wrong == NONE) wrong = number;
        if (threadIdx.x == 0) scale[number] = norm > own.clip ? own.clip / norm : 1;
    }
    if (threadIdx.x != 0) return;
    const LossIncidents found = *static_cast<const LossIncidents *>(incidents);
    const word_t about[] = {
        NONE, overflow[0], found.readout, found.pull, grazing[0], found.loss, wrong, NONE};
    int reason = found.value != NONE ? VALUE : OVERFLOW;
    while (reason < VALUE && about[reason] == NONE) ++reason;
    if (reason < VALUE || found.value != NONE) {
        // A value is found out at the batch after the step that made it.
        status[1] = reason == VALUE ? batch - 1 : batch;
        status[2] = reason == VALUE ? found.value : about[reason];
        status[0] = reason;
        return;
    }
    *limited_in_all += *limited;
    for (int number = 0; number < parameters; ++number) clipped[number] += scale[number] != 1;
}

// Back into the bounds; momentum that leads out again is forgotten.
__device__ inline void project(const Trained &own, double &value, double *moment) {
    for (int which = 0; which < own.bounds; ++which) {
        const double raised = value < own.low[which] ? own.low[which] : value;
        const double projected = raised > own.high[which] ? own.high[which] : raised;
        const double change = projected - value;
        if (moment && ((change > 0 && *moment > 0) || (change < 0 && *moment < 0))) *moment = 0;
        value = projected;
    }
}

// Whether a parameter may not have a value: evsim.training.trained_parameters and evsim_gpu.model.precision.
__device__ inline bool is_refused(int kind, double value) {
    if (kind >= THRESHOLD && !(value > 0)) return true;
    if (sizeof(real) == sizeof(double) || kind == DELAY || value == 0) return false;
    return fabs(value) < 0x1p-126 || fabs(value) > 0x1.fffffep127;
}

// A step of every optimiser.  `rates` holds for each parameter its learning rate and what the
// moments of Adam are divided by.
extern "C" __global__ void __launch_bounds__(128)
    step_parameters(index_t entries, int parameters, const void *trained, const double *rates,
        const double *scale, const word_t *status, const double *folded, double *values,
        double *first_moment, double *second_moment, void *incidents) {
    const index_t entry = thread_of_grid();
    if (entry >= entries || status[0] != NOT) return;
    const Trained *const all = static_cast<const Trained *>(trained);
    const int number = parameter_of(all, parameters, &Trained::first, entry);
    const Trained &own = all[number];
    const double rate = rates[number * 3], gradient = folded[entry] * scale[number];
    double value = values[entry], first = first_moment[entry];
    if (own.weight_decay != 0) value *= 1.0 - rate * own.weight_decay;
    if (own.method == ADAM) {
        double second = second_moment[entry] * own.beta2;
        first = first * own.beta1 + (1.0 - own.beta1) * gradient;
        second += (1.0 - own.beta2) * (gradient * gradient);
        second_moment[entry] = second;
        const double unbiased_first = first / rates[number * 3 + 1];
        const double unbiased_second = second / rates[number * 3 + 2];
        value -= rate * unbiased_first / (sqrt(unbiased_second) + own.epsilon);
    } else if (own.method == MOMENTUM) {
        first = first * own.beta1 + gradient;
        value -= rate * first;
    } else {
        value -= rate * gradient;
    }
    project(own, value, own.method == SGD ? nullptr : &first);
    values[entry] = value;
    first_moment[entry] = first;
    if (is_refused(own.kind, value))
        atomicMin(&static_cast<LossIncidents *>(incidents)->value, static_cast<word_t>(number));
}

// -- from parameters to what the other kernels read ----------------------------------------------

// A thread per pair of a trained weight or delay.
extern "C" __global__ void __launch_bounds__(128)
    spread_parameters(index_t pairs, int parameters, const void *trained, const double *values,
        double dt, int steps, real *weight, int *delay) {
    const index_t thread = thread_of_grid();
    if (thread >= pairs) return;
    const Trained *const all = static_cast<const Trained *>(trained);
    const Trained &own = all[parameter_of(all, parameters, &Trained::spread, thread)];
    const index_t pair = thread - own.spread;
    const double value = values[own.first + entry_of(own, pair)];
    if (own.kind == WEIGHT) weight[own.place + pair] = static_cast<real>(value);
    else delay[own.place + pair] = static_cast<int>(fmin(rint(value / dt), steps + 1.0));
}

// The threshold of each unit of a population: its own, or one for all.
extern "C" __global__ void spread_threshold(
    int units, int values_given, const double *values, real *threshold) {
    const index_t unit = thread_of_grid();
    if (unit < units) threshold[unit] = static_cast<real>(values[values_given == 1 ? 0 : unit]);
}
