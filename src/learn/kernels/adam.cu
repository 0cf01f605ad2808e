// Adam and AdamW over all parameters of a network in one launch: its reference is adam_step of reference.rs, its CPU version
// optimizer/update.rs.
//
// Parameters, gradients and both moments are flat buffers with the same places, so that one launch moves all of them; what is
// between two variables has gradient 0 and stays 0 (so does it with weight decay). The factors of the step come from device memory, where a whole epoch of
// them lies: the launch is the same in every step, and a graph of it can be replayed.
//
// Versions: (1) one value a thread; (2) four, as float4: a quarter of the memory instructions for the same bytes. Seven streams
// of 4 bytes a parameter and no reuse, so memory bandwidth is its ceiling.
#include "device.cuh"

// factors: [steps, 3], the step size lr/(1-beta1^t), the correction sqrt(1-beta2^t) and what weight decay leaves of a value,
// 1 - lr*decay, of each step; cursor[0]: which one is taken. quads: values divided by 4. rest1, rest2: 1 - beta1 and 1 - beta2, rounded from f64.
KERNEL adam_step(float4* theta, const float4* gradient, float4* m, float4* v, long long quads, const float* factors,
                 const int* cursor, float beta1, float rest1, float beta2, float rest2, float epsilon) {
    const float* of_step = factors + 3 * cursor[0];
    const float step_size = of_step[0], correction = of_step[1], keep = of_step[2];
    const long long stride = static_cast<long long>(gridDim.x) * blockDim.x;
    for (long long at = static_cast<long long>(blockIdx.x) * blockDim.x + threadIdx.x; at < quads; at += stride) {
        float4 values = theta[at], first = m[at], second = v[at];
        const float4 g = gradient[at];
        auto move = [&](float& theta, float& m, float& v, float g) {
            m = beta1 * m + rest1 * g;
            v = beta2 * v + rest2 * g * g;
            // A keep of 1 leaves the value to the bit, fused with the subtraction or not.
            theta = keep * theta - step_size * m / (sqrtf(v) / correction + epsilon);
        };
        move(values.x, first.x, second.x, g.x);
        move(values.y, first.y, second.y, g.y);
        move(values.z, first.z, second.z, g.z);
        move(values.w, first.w, second.w, g.w);
        theta[at] = values;
        m[at] = first;
        v[at] = second;
    }
}
