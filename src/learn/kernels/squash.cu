// Squashing of capsules and its gradient: the reference is squash of reference.rs, the CPU version squash.rs.
//
// A capsule is a row of `dim` values. A power of two of lanes shares a row, a quad of values each at a time, so that a warp
// reads whole lines whatever the dimension; the squared length is summed across those lanes by shuffles.
//
// Versions considered: (1) one thread a row: of dimension 8, a warp's load touches a quarter of each line it moves, and wide
// rows run one value after the other; (2) this. Two streams of 4 bytes a value forward and three backward, and a few
// operations a value: memory bandwidth is its ceiling. At full size, batch 128 (147 456 rows of 8) 9.4 MB and 14.2 MB.
#include "capsules.cuh"

// Sum over the `lanes` (a power of two) lanes that share a row.
__device__ __forceinline__ float row_sum(float value, int lanes) {
    for (int distance = lanes / 2; distance > 0; distance /= 2) value += __shfl_xor_sync(WHOLE_WARP, value, distance);
    return value;
}

// v = squash(s). Threads: `lanes` for each row.
KERNEL squash_forward(int kind, long long rows, int dim, int lanes, const float* s, float* v) {
    const long long thread = static_cast<long long>(blockIdx.x) * blockDim.x + threadIdx.x;
    const long long row = thread / lanes;
    const int first = 4 * static_cast<int>(thread % lanes);
    // Lanes without a row have no values to read, but come along to the shuffles.
    const int length = row < rows ? dim : 0;
    const float* from = s + row * dim;
    const bool s_in_fours = reads_in_fours(s, dim), v_in_fours = reads_in_fours(v, dim);
    float n2 = 0.f;
    for (int at = first; at < length; at += 4 * lanes) {
        const float4 quad = load_quad(from, at, length, s_in_fours);
        n2 += dot(quad, quad);
    }
    const float f = squash_factor(kind, row_sum(n2, lanes));
    for (int at = first; at < length; at += 4 * lanes) {
        const float4 quad = load_quad(from, at, length, s_in_fours);
        store_quad(v + row * dim, at, length, v_in_fours, make_float4(f * quad.x, f * quad.y, f * quad.z, f * quad.w));
    }
}

// ds = f dv + 2 f' (s·dv) s; ds may be dv.
KERNEL squash_backward(int kind, long long rows, int dim, int lanes, const float* s, const float* dv, float* ds) {
    const long long thread = static_cast<long long>(blockIdx.x) * blockDim.x + threadIdx.x;
    const long long row = thread / lanes;
    const int first = 4 * static_cast<int>(thread % lanes);
    const int length = row < rows ? dim : 0;
    const float *of_s = s + row * dim, *of_dv = dv + row * dim;
    const bool s_in_fours = reads_in_fours(s, dim), dv_in_fours = reads_in_fours(dv, dim);
    const bool ds_in_fours = reads_in_fours(ds, dim);
    float n2 = 0.f, along = 0.f;
    for (int at = first; at < length; at += 4 * lanes) {
        const float4 quad = load_quad(of_s, at, length, s_in_fours);
        n2 += dot(quad, quad);
        along += dot(quad, load_quad(of_dv, at, length, dv_in_fours));
    }
    n2 = row_sum(n2, lanes);
    along = 2.f * squash_slope(kind, n2) * row_sum(along, lanes);
    const float f = squash_factor(kind, n2);
    for (int at = first; at < length; at += 4 * lanes) {
        const float4 of = load_quad(of_s, at, length, s_in_fours), d = load_quad(of_dv, at, length, dv_in_fours);
        const float4 result = make_float4(f * d.x + along * of.x, f * d.y + along * of.y, f * d.z + along * of.z,
                                          f * d.w + along * of.w);
        store_quad(ds + row * dim, at, length, ds_in_fours, result);
    }
}
