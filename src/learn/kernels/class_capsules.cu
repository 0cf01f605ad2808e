// Class capsules: votes and their routing, forward and backward. The reference is class_capsules of reference.rs, the CPU
// version capsule_plan.rs.
//
// With V^k = v^1 + … + v^k, iteration k + 1 has the logits û_ij · V^k_j: no logits are added up, and votes û_ij = u_i W_ij are
// found anew wherever they are needed, in registers. What is kept are couplings c^k and, backward, gradients of logits da^k,
// one value a vote's `dim`. With them the gradient of a vote is Σ_k c^k_ij ds^k_j + da^k_ij V^{k-1}_j, for which no vote is
// needed, and one pass finds it and what follows from it:
//
//   class_capsules_first_D       Σ_i û_ij, which 1/classes scales: iteration 1
//   class_capsules_sweep_D       û, û·V, softmax over classes, Σ_i c û: one of the later iterations
//   class_capsules_finish        sums of chunks in order, bias, squash, V
//   class_capsules_back_D        û, dc = û·ds, da = c (dc − Σ_j c dc), Σ_i da û, which is the gradient of V
//   class_capsules_finish_back   sums of chunks in order, ds by the squash's derivative
//   class_capsules_gradient.cu   the gradients, from what all of these left
//
// A launch boundary is the barrier that an iteration needs, whose sums go over all capsules.
//
// first, sweep, back: a thread has one class of S samples; S × D votes and as many sums are its registers, and V or ds, S × D values
// that a capsule needs once, its own part of shared memory. A warp has all classes of 32/classes × S samples, so that a softmax is a
// few shuffles and no thread waits for another warp's. A block of 8 warps goes through a chunk of capsules; their matrices pass
// through two buffers of shared memory, the next on its way in registers while one is used. In small batches warps that no sample
// needs take other capsules of the chunk ("ways").
//
// At full size (1152 capsules of 8, 10 classes of 16, 3 iterations), batch 128, multiply-adds and bytes from and to L2:
//   first      189 M, 28 MB (W three times)    sweep (2)   236 M, 34 MB    back (2)   236 M, 40 MB
//   finish (3)  3 M, 6 MB                      finish_back (3)  3 M, 6 MB  gradient   495 M, 97 MB
// 1.6 G multiply-adds in all: 54 µs at 60 TFLOP/s of f32. Shared memory bounds the sweeps: a quad of W that is read there serves S
// multiply-adds of four values, one of V or ds a single one. So S is as large as registers allow.
//
// Versions considered: (1) votes kept, by a batched product: they are 94 MB, written once and read five times, of which the
// last level of cache holds half: 170 µs of memory alone. (2) One block a sample: each reads all of W, 755 MB a sweep. (3) This
// with a thread for one sample, warps for classes: a quad of W serves one sample, couplings pass through shared memory with a
// barrier for each capsule, and a batch of 16 leaves half of the lanes idle. (4) This without couplings kept: they would be
// found again in `back` and `gradient`, with votes, two dot products and a softmax each, 0.5 G multiply-adds more, to save 24 MB.
// (5) V or ds in registers: with two blocks on a multiprocessor 128 are there for a thread, and a quarter of them was spilled.
#include "capsules.cuh"

// Warps of a block of first, sweep and back; samples × values of votes in a thread, at least (WARPS and TILE of class_capsules.rs).
constexpr int WARPS = 8, TILE = 32;

// Sums and maxima over the classes of a sample: lanes `first` .. `first + classes`, of which this is number j. `half`: the
// largest power of two below `classes`, or 0. A maximum may lose a NaN; the exponential functions of the logits do not.
// Of S samples at a time, so that their shuffles wait together.
template <int S, class Combine>
__device__ __forceinline__ void over_classes(float (&values)[S], int first, int j, int classes, int half, Combine combine) {
#pragma unroll 1
    for (int distance = half; distance > 0; distance /= 2) {
#pragma unroll
        for (int s = 0; s < S; ++s) {
            const float other = __shfl_down_sync(WHOLE_WARP, values[s], distance);
            if (j + distance < classes) values[s] = combine(values[s], other);
        }
    }
#pragma unroll
    for (int s = 0; s < S; ++s) values[s] = __shfl_sync(WHOLE_WARP, values[s], first);
}

enum Mode { FIRST, SWEEP, BACK };

// Every block: `chunk` capsules, of groups × (32 / classes) × S samples. weight: [matrices, wide, classes × D]. x: V or ds, [batch,
// classes × D]. coupling, dlogits: [capsules, batch, classes], of this iteration; sweep writes the one, back reads it and writes
// the other. sums: [chunks, batch, classes × D]. rows: those of a matrix in shared memory at a time, 4 or 8. Grid: groups of
// samples, chunks.
template <int D, Mode MODE>
__device__ __forceinline__ void sweep(const Sizes sizes, const float4* u, const float4* weight, const float4* x, float* coupling,
                                      float* dlogits, float4* sums, int chunk, int groups, int rows) {
    constexpr int S = D < TILE ? TILE / D : 1, QUADS = D / 4;
    // Of a class in shared memory: with a quad more, neighbouring classes stand in different banks.
    constexpr int STRIDE = QUADS + 1;
    constexpr int AHEAD = 2;
    DYNAMIC_SHARED(float4, shared);
    const int batch = sizes.batch, classes = sizes.classes;
    const int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP;
    const int group = warp % groups, way = warp / groups, ways = WARPS / groups;
    // Lanes that are left over do as those of slot 0, and write nothing.
    const int slots = WARP / classes;
    const bool is_busy = lane / classes < slots;
    const int slot = is_busy ? lane / classes : 0, j = lane % classes, start = lane - j;
    const int team_samples = groups * slots * S, team_first = blockIdx.x * team_samples;
    int half = 0;
    for (int power = 1; power < classes; power *= 2) half = power;

    // The threads of a way bring what it needs next to shared memory: some rows of a matrix and as many values of u.
    const int team = groups * WARP, member = threadIdx.x - way * team;
    const int sample_quads = rows / 4, wide_quads = sizes.wide / 4, matrix_quads = rows * classes * STRIDE;
    const int buffer_quads = matrix_quads + team_samples * sample_quads;
    float4* const buffers = shared + 2 * way * buffer_quads;
    const int slabs = (wide_quads + sample_quads - 1) / sample_quads;
    const int begin = blockIdx.y * chunk, end = min(begin + chunk, sizes.capsules);
    const int steps = (chunk + ways - 1) / ways * slabs;

    // What comes next: rows from `slab` on of capsule `next`, there `at_w` and `at_u`.
    int next = begin + way, slab = 0, brought = 0;
    const float4 *at_w = nullptr, *at_u = nullptr;
    float4 w_ahead[AHEAD], u_ahead;
    const int samples_here = min(team_samples, batch - team_first);
    auto u_quad = [&](int at) { return at_u[static_cast<long long>(at / sample_quads) * sizes.next_sample() * wide_quads + at % sample_quads]; };
    auto is_u = [&](int at) { return at < samples_here * sample_quads && 4 * slab + at % sample_quads * 4 < sizes.wide; };
    auto fetch = [&] {
        brought = 0;
        if (next >= end) return;
        brought = min(rows, sizes.wide - 4 * slab) * classes * QUADS;
        at_w = weight + (static_cast<long long>(next / sizes.sharing) * sizes.wide + 4 * slab) * classes * QUADS;
        at_u = u + (sizes.place(next) + static_cast<long long>(team_first) * sizes.next_sample()) * wide_quads + slab;
#pragma unroll
        for (int n = 0; n < AHEAD; ++n) {
            if (member + n * team < brought) w_ahead[n] = at_w[member + n * team];
        }
        if (is_u(member)) u_ahead = u_quad(member);
    };
    auto put = [&](float4* to) {
        if (brought == 0) return;
        auto place = [](int at) { return at / QUADS * STRIDE + at % QUADS; };
#pragma unroll
        for (int n = 0; n < AHEAD; ++n) {
            if (member + n * team < brought) to[place(member + n * team)] = w_ahead[n];
        }
#pragma unroll 1
        for (int at = member + AHEAD * team; at < brought; at += team) to[place(at)] = at_w[at];
        if (is_u(member)) to[matrix_quads + member] = u_ahead;
#pragma unroll 1
        for (int at = member + team; at < team_samples * sample_quads; at += team) {
            if (is_u(at)) to[matrix_quads + at] = u_quad(at);
        }
        slab += sample_quads;
        if (slab >= wide_quads) {
            slab = 0;
            next += ways;
        }
    };

    // Its samples: neighbouring slots have neighbouring ones.
    const int first_local = group * slots * S + slot;
    auto sample_of = [&](int s) { return team_first + first_local + s * slots; };
    const float4 none = make_float4(0.f, 0.f, 0.f, 0.f);
    // V or ds, which a capsule needs once, wait in shared memory where registers are short, each thread's own behind the buffers.
    constexpr bool IS_KEPT = D <= TILE;
    float4* const kept = shared + 2 * ways * buffer_quads + warp * S * QUADS * WARP + lane;
    float4 of_x[IS_KEPT ? 1 : S][IS_KEPT ? 1 : QUADS], sum[S][QUADS], votes[S][QUADS];
#pragma unroll
    for (int s = 0; s < S; ++s) {
#pragma unroll
        for (int q = 0; q < QUADS; ++q) {
            sum[s][q] = votes[s][q] = none;
            const long long row = static_cast<long long>(sample_of(s)) * classes + j;
            if (MODE == FIRST) continue;
            const float4 value = sample_of(s) < batch ? x[row * QUADS + q] : none;
            (IS_KEPT ? kept[(s * QUADS + q) * WARP] : of_x[IS_KEPT ? 0 : s][IS_KEPT ? 0 : q]) = value;
        }
    }

    fetch();
    int i = next, begun = slab;
    put(buffers);
    __syncthreads();
    for (int step = 0; step < steps; ++step) {
        fetch();
        if (i < end) {
            const float4* const of_u = buffers + step % 2 * buffer_quads + matrix_quads + first_local * sample_quads;
            const float4* matrix = buffers + step % 2 * buffer_quads + j * STRIDE;
            const bool is_last_slab = begun + sample_quads >= wide_quads;
            const long long of_capsule = (static_cast<long long>(i) * batch + sample_of(0)) * classes + j;
            float c[S];
            if (MODE == BACK && is_last_slab) {
#pragma unroll
                for (int s = 0; s < S; ++s) c[s] = sample_of(s) < batch ? coupling[of_capsule + s * slots * classes] : 0.f;
            }
            const int quads = min(sample_quads, wide_quads - begun);
#pragma unroll 1
            for (int quad = 0; quad < quads; ++quad) {
                float4 of[S];
#pragma unroll
                for (int s = 0; s < S; ++s) of[s] = of_u[s * slots * sample_quads + quad];
#pragma unroll
                for (int k = 0; k < 4; ++k) {
#pragma unroll
                    for (int q = 0; q < QUADS; ++q) {
#pragma unroll
                        for (int s = 0; s < S; ++s) {
                            const float value = k == 0 ? of[s].x : k == 1 ? of[s].y : k == 2 ? of[s].z : of[s].w;
                            float4& into = MODE == FIRST ? sum[s][q] : votes[s][q];
                            into = add_times(into, value, matrix[q]);
                        }
                    }
                    matrix += classes * STRIDE;
                }
            }
            if (MODE != FIRST && is_last_slab) {
                auto plus = [](float a, float b) { return a + b; };
                auto larger = [](float a, float b) { return fmaxf(a, b); };
                float along[S], factor[S], common[S];
#pragma unroll
                for (int s = 0; s < S; ++s) {
                    along[s] = 0.f;
#pragma unroll
                    for (int q = 0; q < QUADS; ++q) {
                        const float4 value = IS_KEPT ? kept[(s * QUADS + q) * WARP] : of_x[IS_KEPT ? 0 : s][IS_KEPT ? 0 : q];
                        along[s] += dot(votes[s][q], value);
                    }
                    common[s] = MODE == SWEEP ? along[s] : c[s] * along[s];
                }
                if (MODE == SWEEP) {
                    over_classes(common, start, j, classes, half, larger);
#pragma unroll
                    for (int s = 0; s < S; ++s) common[s] = factor[s] = expf(along[s] - common[s]);
                }
                over_classes(common, start, j, classes, half, plus);
#pragma unroll
                for (int s = 0; s < S; ++s) {
                    factor[s] = MODE == SWEEP ? factor[s] / common[s] : c[s] * (along[s] - common[s]);
                    if (is_busy && sample_of(s) < batch) {
                        (MODE == SWEEP ? coupling : dlogits)[of_capsule + s * slots * classes] = factor[s];
                    }
#pragma unroll
                    for (int q = 0; q < QUADS; ++q) {
                        sum[s][q] = add_times(sum[s][q], factor[s], votes[s][q]);
                        votes[s][q] = none;
                    }
                }
            }
        }
        i = next, begun = slab;
        put(buffers + (step + 1) % 2 * buffer_quads);
        __syncthreads();
    }

    // The sums of the ways, in their order; the buffers are free by now.
    float4* const handed = shared + group * S * QUADS * WARP + lane;
    const int of_way = groups * S * QUADS * WARP;
    if (way > 0) {
#pragma unroll
        for (int s = 0; s < S; ++s) {
#pragma unroll
            for (int q = 0; q < QUADS; ++q) handed[(way - 1) * of_way + (s * QUADS + q) * WARP] = sum[s][q];
        }
    }
    __syncthreads();
    if (way > 0 || !is_busy) return;
#pragma unroll
    for (int s = 0; s < S; ++s) {
        if (sample_of(s) >= batch) continue;
        const long long row = (static_cast<long long>(blockIdx.y) * batch + sample_of(s)) * classes + j;
#pragma unroll
        for (int q = 0; q < QUADS; ++q) {
            float4 all = sum[s][q];
#pragma unroll 1
            for (int other = 0; other < ways - 1; ++other) all = add(all, handed[other * of_way + (s * QUADS + q) * WARP]);
            sums[row * QUADS + q] = all;
        }
    }
}

// Of class capsules of D dimensions. `blocks`: on a multiprocessor, where registers allow it.
#define SWEEPS(D, blocks)                                                                                                    \
    KERNEL __launch_bounds__(WARPS* WARP, blocks)                                                                            \
        class_capsules_first_##D(SIZES, const float4* u, const float4* weight, float4* sums, int chunk, int groups, int rows) { \
        sweep<D, FIRST>(SIZES_GIVEN, u, weight, nullptr, nullptr, nullptr, sums, chunk, groups, rows);                       \
    }                                                                                                                        \
    KERNEL __launch_bounds__(WARPS* WARP, blocks)                                                                            \
        class_capsules_sweep_##D(SIZES, const float4* u, const float4* weight, const float4* x, float* coupling, float4* sums, \
                                 int chunk, int groups, int rows) {                                                          \
        sweep<D, SWEEP>(SIZES_GIVEN, u, weight, x, coupling, nullptr, sums, chunk, groups, rows);                            \
    }                                                                                                                        \
    KERNEL __launch_bounds__(WARPS* WARP, blocks)                                                                            \
        class_capsules_back_##D(SIZES, const float4* u, const float4* weight, const float4* x, float* coupling,              \
                                float* dlogits, float4* sums, int chunk, int groups, int rows) {                             \
        sweep<D, BACK>(SIZES_GIVEN, u, weight, x, coupling, dlogits, sums, chunk, groups, rows);                             \
    }
SWEEPS(8, 2)
SWEEPS(16, 2)
SWEEPS(32, 2)
SWEEPS(64, 1)

// rows of `values` values, to rows of `filled` that end in zeros. One thread for each of the `count` values that are written.
KERNEL class_capsules_pack(const float* from, float* to, int values, int filled, int rows, int filled_rows, long long count) {
    const long long at = static_cast<long long>(blockIdx.x) * blockDim.x + threadIdx.x;
    if (at >= count) return;
    const long long row = at / filled;
    const int column = static_cast<int>(at % filled), within = static_cast<int>(row % filled_rows);
    const bool is_there = column < values && within < rows;
    to[at] = is_there ? from[(row / filled_rows * rows + within) * values + column] : 0.f;
}

// Sums of the chunks of one sample, [chunks, batch, row], into total[row] of shared memory, in an order that `row` gives. Every
// thread of the block must come here; `parts`: blockDim.x values of shared memory, or `row` where a row is longer.
__device__ __forceinline__ void sum_chunks(const float* sums, int chunks, int batch, int row, float* parts, float* total) {
    const int count = max(1, static_cast<int>(blockDim.x) / row);
    for (int at = threadIdx.x; at < count * row; at += blockDim.x) {
        const int part = at / row, column = at % row;
        float sum = 0.f;
#pragma unroll 4
        for (int chunk = part; chunk < chunks; chunk += count) {
            sum += sums[(static_cast<long long>(chunk) * batch + blockIdx.x) * row + column];
        }
        parts[at] = sum;
    }
    __syncthreads();
    for (int column = threadIdx.x; column < row; column += blockDim.x) {
        float sum = 0.f;
        for (int part = 0; part < count; ++part) sum += parts[part * row + column];
        total[column] = sum;
    }
    __syncthreads();
}

// s = scale Σ sums + bias, kept as [batch, row]; its squash is written to v [batch, classes, dim] and, plus `before`, to
// `total` [batch, row], each where it is not null. Block: a sample. Shared memory: parts, row, classes.
KERNEL class_capsules_finish(int batch, int classes, int dim, int filled, int chunks, const float* sums, const float* bias,
                             float scale, int kind, float* s, const float* before, float* total, float* v) {
    DYNAMIC_SHARED(float, parts);
    const int row = classes * filled;
    float* const values = parts + max(row, static_cast<int>(blockDim.x));
    float* const factors = values + row;
    const long long own = static_cast<long long>(blockIdx.x) * row;
    sum_chunks(sums, chunks, batch, row, parts, values);
    for (int column = threadIdx.x; column < row; column += blockDim.x) {
        const int j = column / filled, d = column % filled;
        const float value = d < dim ? scale * values[column] + bias[j * dim + d] : 0.f;
        values[column] = value;
        s[own + column] = value;
    }
    __syncthreads();
    for (int j = threadIdx.x; j < classes; j += blockDim.x) {
        float n2 = 0.f;
        for (int d = 0; d < dim; ++d) n2 += values[j * filled + d] * values[j * filled + d];
        factors[j] = squash_factor(kind, n2);
    }
    __syncthreads();
    for (int column = threadIdx.x; column < row; column += blockDim.x) {
        const int j = column / filled, d = column % filled;
        const float value = factors[j] * values[column];
        if (total) total[own + column] = value + (before ? before[own + column] : 0.f);
        if (v && d < dim) v[(static_cast<long long>(blockIdx.x) * classes + j) * dim + d] = value;
    }
}

// ds [batch, row] from s of the same iteration and the gradient of its v: of the last iteration dv [batch, classes, dim]; before
// (dv null) that of V, Σ sums, added to the one of the V's after it, which `later` [batch, row] holds unless this is the first
// time. Block and shared memory as class_capsules_finish, but twice the classes.
KERNEL class_capsules_finish_back(int batch, int classes, int dim, int filled, int chunks, const float* sums, const float* dv,
                                  float* later, int is_first_time, int kind, const float* s, float* ds) {
    DYNAMIC_SHARED(float, parts);
    const int row = classes * filled;
    float* const gradient = parts + max(row, static_cast<int>(blockDim.x));
    float *const factors = gradient + row, *const alongs = factors + classes;
    const long long own = static_cast<long long>(blockIdx.x) * row;
    if (!dv) sum_chunks(sums, chunks, batch, row, parts, gradient);
    for (int column = threadIdx.x; column < row; column += blockDim.x) {
        const int j = column / filled, d = column % filled;
        if (dv) {
            gradient[column] = d < dim ? dv[(static_cast<long long>(blockIdx.x) * classes + j) * dim + d] : 0.f;
        } else {
            if (!is_first_time) gradient[column] += later[own + column];
            later[own + column] = gradient[column];
        }
    }
    __syncthreads();
    for (int j = threadIdx.x; j < classes; j += blockDim.x) {
        float n2 = 0.f, along = 0.f;
        for (int d = 0; d < dim; ++d) {
            const float value = s[own + j * filled + d];
            n2 += value * value;
            along += value * gradient[j * filled + d];
        }
        factors[j] = squash_factor(kind, n2);
        alongs[j] = 2.f * squash_slope(kind, n2) * along;
    }
    __syncthreads();
    for (int column = threadIdx.x; column < row; column += blockDim.x) {
        const int j = column / filled;
        ds[own + column] = factors[j] * gradient[column] + alongs[j] * s[own + column];
    }
}
