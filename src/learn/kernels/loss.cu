// Margin loss, mask and reconstruction loss of capsule networks and the cross entropy of LeNet-5, with their gradients: their
// references are src/model/loss.rs and src/model/decoder.rs, the CPU versions of the first three loss.rs.
//
// Losses of samples are f32 and go to an array of their own; one block adds them in f64, in a fixed order: no atomics.
//
// Versions: (1) a block a sample, values and gradient in one kernel, so that lengths and errors never leave it. All of it moves
// 1.3 MB at full size and a batch of 128: what it costs are its launches.
#include "device.cuh"

// Lengths that the capsule of the true class and the others should reach; the weight of the others (loss.rs).
constexpr float PRESENT = 0.9f, ABSENT = 0.1f, ABSENT_WEIGHT = 0.5f;

// v [batch][classes][dim], labels [batch]. A block a sample; blockDim.x a multiple of 32; dynamic shared memory: a float a class.
// Writes scores [batch][classes] (lengths); losses [batch], of the margin; correct [batch], 1 where the longest capsule is the
// true class (the first of several); chosen [batch], the true class, or the longest where `is_longest`. For a training also dv,
// the gradient of the mean margin loss, unless null; masked, unless null: what the decoder sees, [batch][classes x dim] with
// zeros but in the chosen capsule, or [batch][dim] where `is_small`.
KERNEL loss_margin(const float* v, const int* labels, int classes, int dim, int is_longest, int is_small, float* scores,
                   float* losses, int* correct, int* chosen, float* dv, float* masked) {
    DYNAMIC_SHARED(float, length);
    __shared__ int choice;
    const int sample = blockIdx.x, label = labels[sample];
    const float mean = 1.f / gridDim.x;
    const long long first = static_cast<long long>(sample) * classes * dim;
    for (int k = threadIdx.x; k < classes; k += blockDim.x) {
        float squares = 0.f;
        for (int d = 0; d < dim; ++d) squares += v[first + k * dim + d] * v[first + k * dim + d];
        length[k] = sqrtf(squares + EPSILON);
        scores[sample * classes + k] = length[k];
    }
    __syncthreads();
    if (threadIdx.x == 0) {
        int longest = 0;
        float loss = 0.f;
        for (int k = 0; k < classes; ++k) {
            if (length[k] > length[longest]) longest = k;
            float gap = k == label ? PRESENT - length[k] : length[k] - ABSENT;
            gap = gap < 0.f ? 0.f : gap;
            loss += (k == label ? 1.f : ABSENT_WEIGHT) * gap * gap;
        }
        losses[sample] = loss;
        correct[sample] = longest == label;
        choice = is_longest ? longest : label;
        chosen[sample] = choice;
    }
    __syncthreads();
    for (int at = threadIdx.x; at < classes * dim; at += blockDim.x) {
        const int k = at / dim;
        if (dv) {
            float gap = k == label ? PRESENT - length[k] : length[k] - ABSENT;
            gap = gap < 0.f ? 0.f : gap;
            const float slope = k == label ? -2.f * gap : 2.f * ABSENT_WEIGHT * gap;
            dv[first + at] = mean * slope / length[k] * v[first + at];
        }
        if (masked && is_small) {
            if (k == choice) masked[sample * dim + at % dim] = v[first + at];
        } else if (masked) {
            masked[first + at] = k == choice ? v[first + at] : 0.f;
        }
    }
}

// Adds the gradient of what the decoder sees to that of its capsule. A thread a value of the chosen capsules.
KERNEL loss_unmask(const float* dmasked, const int* chosen, int batch, int classes, int dim, int is_small, float* dv) {
    const int at = blockIdx.x * blockDim.x + threadIdx.x;
    if (at >= batch * dim) return;
    const int sample = at / dim, d = at % dim, k = chosen[sample];
    const long long place = (static_cast<long long>(sample) * classes + k) * dim + d;
    dv[place] += dmasked[is_small ? at : place];
}

// The decoder's last layer before its sigmoid, z [batch][pixels], against the image [batch][pixels]. A block a sample. Adds
// weight x the sum of squared errors to losses [batch]; where `is_trained`, z becomes the gradient of the mean loss by itself.
KERNEL loss_reconstruction(float* z, const float* image, int pixels, float weight, int is_trained, float* losses) {
    __shared__ float scratch[WARP];
    const float factor = 2.f * weight / gridDim.x;
    const long long first = static_cast<long long>(blockIdx.x) * pixels;
    float sum = 0.f;
    for (int at = threadIdx.x; at < pixels; at += blockDim.x) {
        const float x = z[first + at];
        // e^-|x| cannot overflow.
        const float small = expf(-fabsf(x)), above = 1.f / (1.f + small);
        const float r = x < 0.f ? small * above : above;
        const float error = r - image[first + at];
        sum += error * error;
        if (is_trained) z[first + at] = factor * error * r * (1.f - r);
    }
    sum = block_sum(sum, scratch);
    if (threadIdx.x == 0) losses[blockIdx.x] += weight * sum;
}

// Ends a step: one block of 32 threads. Writes metrics[cursor[0]] = {mean loss, samples that were right} and moves the cursor to
// the next step, `batch` samples further on.
KERNEL loss_end_of_step(const float* losses, const int* correct, int batch, double* metrics, int* cursor) {
    double loss = 0.;
    int right = 0;
    for (int sample = threadIdx.x; sample < batch; sample += WARP) {
        loss += losses[sample];
        right += correct[sample];
    }
    __shared__ double sums[WARP];
    __shared__ int counts[WARP];
    sums[threadIdx.x] = loss;
    counts[threadIdx.x] = right;
    __syncthreads();
    if (threadIdx.x > 0) return;
    for (int lane = 1; lane < WARP; ++lane) {
        loss += sums[lane];
        right += counts[lane];
    }
    metrics[2 * cursor[0]] = loss / batch;
    metrics[2 * cursor[0] + 1] = right;
    cursor[0] += 1;
    cursor[1] += batch;
}

// Cross entropy of logits [batch][classes], a thread a sample: writes losses [batch], correct [batch] and, where `is_trained`, the
// gradient of the mean loss in place of the logits. Its reference is cross_entropy of src/model/loss.rs.
KERNEL loss_cross_entropy(float* logits, const int* labels, int batch, int classes, int is_trained, float* scores,
                          float* losses, int* correct) {
    const int sample = blockIdx.x * blockDim.x + threadIdx.x;
    if (sample >= batch) return;
    float* const row = logits + static_cast<long long>(sample) * classes;
    const int label = labels[sample];
    int largest = 0;
    for (int k = 0; k < classes; ++k) {
        scores[sample * classes + k] = row[k];
        if (row[k] > row[largest]) largest = k;
    }
    const float top = row[largest];
    float sum = 0.f;
    for (int k = 0; k < classes; ++k) sum += expf(row[k] - top);
    losses[sample] = logf(sum) + top - row[label];
    correct[sample] = largest == label;
    if (!is_trained) return;
    for (int k = 0; k < classes; ++k) row[k] = (expf(row[k] - top) / sum - (k == label ? 1.f : 0.f)) / batch;
}
