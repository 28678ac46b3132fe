#include "../nn.h"

/* With p = softmax(x) and n the vocabulary:
 *     loss = lse - (1 - smoothing) x[label] - smoothing/n * sum of x
 *     d/dx[v] = p[v] - smoothing/n - (1 - smoothing) (v == label) */
void attn_nn_cross_entropy(attn_nn_pass *pass, attn_nn_real *logits, int64_t vocabulary,
                           const int32_t *labels, int64_t rows, double smoothing, double scale,
                           attn_nn_loss *loss) {
    if (attn_nn_failed(pass)) return;
    const attn_nn_kernels *const k = attn_nn_kernels_of(pass);
    const double smooth = smoothing / (double)vocabulary;
    for (int64_t r = 0; r < rows; r++) {
        real *const x = logits + r * vocabulary;
        if (labels[r] < 0 || labels[r] >= vocabulary) {
            attn_nn_fail(pass, ATTN_ERROR_VALUE, "a label lies outside the vocabulary");
            return;
        }
        const double lse = k->log_sum_exp(x, vocabulary), of_label = (double)x[labels[r]];
        const double of_all = smoothing > 0 ? smooth * k->sum(x, vocabulary) : 0;
        loss->sum += lse - (1 - smoothing) * of_label - of_all;
        loss->likelihood += lse - of_label;
        loss->rows++;
        if (pass->gradients == NULL) continue;
        k->softmax_gradient(x, lse, smooth, scale, vocabulary);
        x[labels[r]] -= (real)(scale * (1 - smoothing));
    }
}
