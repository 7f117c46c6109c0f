// The trained parameters, and the dense synapses and columns to which each of their entries
// belongs.  A dense synapse is a pair of a source and a target unit of a connection.
#include "grid.cuh"

// A record of TRAINED_PARAMETER in evsim_gpu/training/parameters.py, which explains the fields.
struct TrainedParameter {
    index_t first_entry, size, first_synapse_or_column, first_trained_synapse;
    double beta1, beta2, epsilon, weight_decay, clip, low[2], high[2];
    int source_units, target_units, rows, columns, kind, method, bounds, first_block, blocks,
        padding;
};

enum Kind { WEIGHT, DELAY, THRESHOLD, TAU_MEM, TAU_SYN };  // the parameters of units come last
enum Method { SGD, MOMENTUM, ADAM };

// The parameter to which an index belongs, if the indices of all parameters are consecutive.
// `first` is the field that contains the first index of each parameter.
__device__ inline int parameter_at(const TrainedParameter *parameters, int count,
    index_t TrainedParameter::*first, index_t index) {
    int number = 0;
    while (number + 1 < count && parameters[number + 1].*first <= index) ++number;
    return number;
}

// The entry of a parameter that holds the value of a synapse, numbered by source unit and then by
// target unit.  A parameter with one row (column) has one value for all target (source) units.
__device__ inline index_t entry_of(const TrainedParameter &parameter, index_t synapse) {
    const index_t row = parameter.rows == 1 ? 0 : synapse % parameter.target_units;
    const index_t column = parameter.columns == 1 ? 0 : synapse / parameter.target_units;
    return row * parameter.columns + column;
}

// How many synapses share an entry.
__device__ inline index_t synapses_per_entry(const TrainedParameter &parameter) {
    return static_cast<index_t>(parameter.rows == 1 ? parameter.target_units : 1) *
           (parameter.columns == 1 ? parameter.source_units : 1);
}

// The m-th of the synapses that share an entry.
__device__ inline index_t synapse_of_entry(
    const TrainedParameter &parameter, index_t entry, index_t m) {
    const index_t targets = parameter.rows == 1 ? parameter.target_units : 1;
    const index_t target = parameter.rows == 1 ? m % targets : entry / parameter.columns;
    const index_t source = parameter.columns == 1 ? m / targets : entry % parameter.columns;
    return source * parameter.target_units + target;
}
