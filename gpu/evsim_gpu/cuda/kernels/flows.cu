// What a step of dt does to units whose time constants are trained: evsim.equations.lif and
// evsim_gpu.model.layout in double, for the coefficients and derivatives that other kernels read.
#include "grid.cuh"

__device__ inline double relative_expm1(double x) {
    return x == 0 ? 1 : expm1(x) / x;
}

// exp[a, b], the divided difference of exp.
__device__ inline double first_divided_difference(double a, double b) {
    const double high = fmax(a, b), low = fmin(a, b);
    return exp(high) * relative_expm1(low - high);
}

// exp[a, a, b]: where a and b are close, the series around their middle argument.
__device__ inline double second_divided_difference(double twice, double once) {
    const double high = fmax(twice, once), low = fmin(twice, once);
    if (high - low > 1) {
        const double upper = exp(high) * relative_expm1(twice - high);
        const double lower = exp(twice) * relative_expm1(low - twice);
        return (upper - lower) / (high - low);
    }
    // The complete homogeneous polynomials of two distances, of which one is 0.
    const double distance = once - twice;
    double polynomial = 1, factor = 0.5, total = 0.5;
    for (int n = 1; n < 19; ++n) {
        polynomial *= distance;
        factor /= n + 2;
        total += polynomial * factor;
    }
    return exp(twice) * total;
}

// The time constant of each unit of a population: its own, or one for all.
extern "C" __global__ void spread_time_constant(
    int units, int values_given, const double *values, double *time_constant) {
    const index_t unit = thread_of_grid();
    if (unit < units) time_constant[unit] = values[values_given == 1 ? 0 : unit];
}

// Coefficients of the columns of a component, in the order of Unit but for the threshold, and the
// rows of GridLayout.time_constant_slopes; `taus` holds tau_mem and tau_syn of each.
extern "C" __global__ void renew_flows(
    int columns, double dt, const double *taus, real *units, real *slopes) {
    const index_t column = thread_of_grid();
    if (column >= columns) return;
    const double tau_mem = taus[column], tau_syn = taus[columns + column];
    const double mem = -dt / tau_mem, syn = -dt / tau_syn;
    const double difference = fabs(tau_mem - tau_syn) / tau_mem / tau_syn;
    const double coupling = dt * fmax(exp(mem), exp(syn)) * relative_expm1(-dt * difference);
    const double values[] = {exp(mem), coupling / tau_mem, exp(syn), coupling / tau_syn,
        expm1(mem), tau_mem / dt, 0, tau_mem, tau_syn};
    for (int place = 0; place < 9; ++place)
        if (place != 6) units[static_cast<index_t>(place) * columns + column] = values[place];
    const double mem_by_tau = dt / tau_mem / tau_mem, syn_by_tau = dt / tau_syn / tau_syn;
    const double response = dt / tau_mem * first_divided_difference(mem, syn);
    const double by_mem = dt / tau_mem * second_divided_difference(mem, syn);
    const double by_syn = dt / tau_mem * second_divided_difference(syn, mem);
    real *const own = slopes + column * 4;
    own[0] = exp(mem) * mem_by_tau;
    own[1] = by_mem * mem_by_tau - response / tau_mem;
    own[2] = by_syn * syn_by_tau;
    own[3] = exp(syn) * syn_by_tau;
}
