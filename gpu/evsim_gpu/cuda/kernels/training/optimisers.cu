// The steps of the optimisers, in double: what evsim.optim does on the host.
#include "grid.cuh"
#include "training/failures.cuh"
#include "training/trained_parameters.cuh"

// Moves a value into the bounds of its parameter, and sets momentum that points outwards to 0.
__device__ inline void project(const TrainedParameter &parameter, double &value, double *moment) {
    for (int bounds = 0; bounds < parameter.bounds; ++bounds) {
        const double raised = value < parameter.low[bounds] ? parameter.low[bounds] : value;
        const double projected =
            raised > parameter.high[bounds] ? parameter.high[bounds] : raised;
        const double change = projected - value;
        if (moment && ((change > 0 && *moment > 0) || (change < 0 && *moment < 0))) *moment = 0;
        value = projected;
    }
}

// Whether a value is not allowed.  Time constants must be > 0; so must thresholds, because trained
// units have reset = rest = start = 0.  float32 must be able to represent the value.
__device__ inline bool is_refused(int kind, double value) {
    if (kind >= THRESHOLD && !(value > 0)) return true;
    if (sizeof(real) == sizeof(double) || kind == DELAY || value == 0) return false;
    return fabs(value) < 0x1p-126 || fabs(value) > 0x1.fffffep127;
}

// A step of every optimiser, a thread per entry.  A row of `rates` contains, for one parameter, the
// learning rate and the two factors of Adam's bias correction, by which its moments are divided.
extern "C" __global__ void __launch_bounds__(128)
    step_parameters(index_t entries, int parameters, const void *trained_parameters,
        const double *rates, const double *scale, const uint64 *status, const double *folded,
        double *values, double *first_moment, double *second_moment, void *failures) {
    const index_t entry = thread_of_grid();
    if (entry >= entries || status[0] != NOT_STOPPED) return;
    const TrainedParameter *const all = static_cast<const TrainedParameter *>(trained_parameters);
    const int number = parameter_at(all, parameters, &TrainedParameter::first_entry, entry);
    const TrainedParameter &parameter = all[number];
    const double rate = rates[number * 3], gradient = folded[entry] * scale[number];
    double value = values[entry], first = first_moment[entry];
    if (parameter.weight_decay != 0) value *= 1.0 - rate * parameter.weight_decay;
    if (parameter.method == ADAM) {
        double second = second_moment[entry] * parameter.beta2;
        first = first * parameter.beta1 + (1.0 - parameter.beta1) * gradient;
        second += (1.0 - parameter.beta2) * (gradient * gradient);
        second_moment[entry] = second;
        const double unbiased_first = first / rates[number * 3 + 1];
        const double unbiased_second = second / rates[number * 3 + 2];
        value -= rate * unbiased_first / (sqrt(unbiased_second) + parameter.epsilon);
    } else if (parameter.method == MOMENTUM) {
        first = first * parameter.beta1 + gradient;
        value -= rate * first;
    } else {
        value -= rate * gradient;
    }
    project(parameter, value, parameter.method == SGD ? nullptr : &first);
    values[entry] = value;
    first_moment[entry] = first;
    if (is_refused(parameter.kind, value))
        atomicMin(&static_cast<Failures *>(failures)->value, static_cast<uint64>(number));
}
