// The propagator of V and I over a step of dt, for units whose time constants are trained: the
// closed forms of evsim.equations.lif, in double.
#include "grid.cuh"

// expm1(x)/x, the divided difference of exp between 0 and x; 1 at x = 0.
__device__ inline double relative_expm1(double x) {
    return x == 0 ? 1 : expm1(x) / x;
}

// exp[a, b], the first divided difference of exp.
__device__ inline double first_divided_difference(double a, double b) {
    const double high = fmax(a, b), low = fmin(a, b);
    return exp(high) * relative_expm1(low - high);
}

// exp[twice, twice, once], the second divided difference of exp.  Where the arguments are close, it
// is the series around the middle argument, in which no digits cancel.
__device__ inline double second_divided_difference(double twice, double once) {
    const double high = fmax(twice, once), low = fmin(twice, once);
    if (high - low > 1) {
        const double upper = exp(high) * relative_expm1(twice - high);
        const double lower = exp(twice) * relative_expm1(low - twice);
        return (upper - lower) / (high - low);
    }
    // Powers of `distance` are the complete homogeneous polynomials of the distances from the
    // middle argument, one of which is 0.
    const double distance = once - twice;
    double polynomial = 1, factor = 0.5, total = 0.5;
    for (int n = 1; n < 19; ++n) {
        polynomial *= distance;
        factor /= n + 2;
        total += polynomial * factor;
    }
    return exp(twice) * total;
}

// The coefficients of the columns of a component, in the order of Unit and except for voltages, and
// their rows of GridLayout.time_constant_slopes.  `time_constants` has tau_mem of all columns,
// then tau_syn.
extern "C" __global__ void update_propagators(
    int columns, double dt, const double *time_constants, real *coefficients,
    real *time_constant_slopes) {
    const index_t column = thread_of_grid();
    if (column >= columns) return;
    const double tau_mem = time_constants[column], tau_syn = time_constants[columns + column];
    const double mem = -dt / tau_mem, syn = -dt / tau_syn;
    const double difference = fabs(tau_mem - tau_syn) / tau_mem / tau_syn;
    const double coupling = dt * fmax(exp(mem), exp(syn)) * relative_expm1(-dt * difference);
    const double values[] = {exp(mem), coupling / tau_mem, exp(syn), coupling / tau_syn,
        tau_mem, tau_syn};
    for (int field = 0; field < 6; ++field)
        coefficients[static_cast<index_t>(field) * columns + column] = values[field];
    const double mem_derivative = dt / tau_mem / tau_mem, syn_derivative = dt / tau_syn / tau_syn;
    const double response = dt / tau_mem * first_divided_difference(mem, syn);
    const double with_mem_twice = dt / tau_mem * second_divided_difference(mem, syn);
    const double with_syn_twice = dt / tau_mem * second_divided_difference(syn, mem);
    real *const of_column = time_constant_slopes + column * 4;
    of_column[0] = exp(mem) * mem_derivative;
    of_column[1] = with_mem_twice * mem_derivative - response / tau_mem;
    of_column[2] = with_syn_twice * syn_derivative;
    of_column[3] = exp(syn) * syn_derivative;
}
