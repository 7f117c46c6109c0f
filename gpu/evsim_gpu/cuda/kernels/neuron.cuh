// One step of a unit, forward.  The closed form of D Table 1 over a step of dt; D is Mészáros,
// Knight and Nowotny (delay learning with EventProp).
#include "grid.cuh"

// The coefficients of a unit; UNIT_FIELDS in evsim_gpu/model explains each.
struct Unit {
    real decay_mem, rise, decay_syn, feed, tau_mem, tau_syn, threshold, reset, start;
    int refractory;  // steps
};

// `coefficients` is ordered by coefficient, then by column, so that threads of neighbouring columns
// read neighbouring numbers.
__device__ inline Unit unit_at(
    const real *coefficients, const int *__restrict__ refractory, int columns, int column) {
    const real *const of_column = coefficients + column;
    return {of_column[0], of_column[columns], of_column[2 * columns], of_column[3 * columns],
        of_column[4 * columns], of_column[5 * columns], of_column[6 * columns],
        of_column[7 * columns], of_column[8 * columns], refractory[column]};
}

// V and I after all events at a grid point.  V is held at the reset up to the grid point `release`,
// the end of the latest refractory period; -1 before the first emission.
struct Neuron {
    real v, i;
    int release;
};

// V one step later, if the unit neither emits nor is refractory.
__device__ inline real voltage_after_step(const Unit &unit, const Neuron &neuron) {
    return unit.decay_mem * neuron.v + unit.rise * neuron.i;
}

// The value that replaces I - threshold at a crossing within the step: I before the step minus V
// after it.
__device__ inline real threshold_excess_over_step(const Neuron &before, real voltage_after) {
    return before.i - voltage_after;
}

// Moves V and I to grid point n, before the arrivals there; `v` is that of `voltage_after_step`.
__device__ inline void move_to(const Unit &unit, int n, real v, bool emits, Neuron &neuron) {
    neuron.v = emits || n <= neuron.release ? unit.reset : v;
    neuron.i = unit.decay_syn * neuron.i;
    if (emits) neuron.release = n + unit.refractory;
}
