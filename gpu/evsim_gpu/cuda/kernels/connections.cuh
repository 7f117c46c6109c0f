// The connections inside a recurrent component.
#include "grid.cuh"

// A row of the table that CudaNetwork writes for each internal connection.  The synapse of source
// unit i and target unit j is first_synapse() + i * target_units() + j.
struct InternalConnection {
    const index_t *row;

    __device__ index_t first_synapse() const { return row[0]; }
    __device__ index_t first_source_column() const { return row[1]; }
    __device__ index_t source_units() const { return row[2]; }
    __device__ index_t first_target_column() const { return row[3]; }
    __device__ index_t target_units() const { return row[4]; }
};

__device__ inline InternalConnection connection_at(const index_t *table, int connection) {
    return {table + connection * 5};
}
