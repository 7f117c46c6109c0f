// The values of trained parameters, written to where the simulation and its adjoints read them.
#include "grid.cuh"
#include "training/trained_parameters.cuh"

// Weights and delays, the latter in steps: a thread per dense synapse of a trained parameter.
extern "C" __global__ void __launch_bounds__(128)
    write_synapses(index_t trained_synapses, int parameters, const void *trained_parameters,
        const double *values, double dt, int steps, real *weight, int *delay) {
    const index_t thread = thread_of_grid();
    if (thread >= trained_synapses) return;
    const TrainedParameter *const all = static_cast<const TrainedParameter *>(trained_parameters);
    const TrainedParameter &parameter =
        all[parameter_at(all, parameters, &TrainedParameter::first_trained_synapse, thread)];
    const index_t synapse = thread - parameter.first_trained_synapse;
    const double value = values[parameter.first_entry + entry_of(parameter, synapse)];
    const index_t index = parameter.first_synapse_or_column + synapse;
    if (parameter.kind == WEIGHT) weight[index] = static_cast<real>(value);
    else delay[index] = static_cast<int>(fmin(rint(value / dt), steps + 1.0));
}

// The threshold of each unit of a population, which has one value per unit or one for all.
extern "C" __global__ void write_threshold(
    int units, int value_count, const double *values, real *threshold) {
    const index_t unit = thread_of_grid();
    if (unit < units) threshold[unit] = static_cast<real>(values[value_count == 1 ? 0 : unit]);
}

// A time constant of each unit of a population, in ms.
extern "C" __global__ void write_time_constant(
    int units, int value_count, const double *values, double *time_constant) {
    const index_t unit = thread_of_grid();
    if (unit < units) time_constant[unit] = values[value_count == 1 ? 0 : unit];
}
