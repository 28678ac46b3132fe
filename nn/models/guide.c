#include "model.h"

#include <math.h>

/* Weights that rounded to 0 count as this, so that a row far from its guide still has a slope. */
static const double least = 1e-7;

static double mean_weight(const real *weights, int64_t heads, int64_t step, int64_t at) {
    double total = 0;
    for (int64_t h = 0; h < heads; h++) total += (double)weights[h * step + at];
    return total / (double)heads;
}

real *attn_nn_guide(const attn_nn_model *model, attn_nn_pass *pass, const attn_nn_batch *batch,
                    const attn_nn_objective *objective, const real *weights, int64_t heads,
                    int64_t longest, attn_nn_loss *loss) {
    if (batch->guide_starts == NULL || objective->guide == 0 || attn_nn_failed(pass)) return NULL;
    const int64_t rows = attn_nn_rows(&batch->target), step = rows * longest;
    const int64_t taught = model->config.align_heads < heads ? model->config.align_heads : heads;
    real *const d_weights = attn_nn_take_zeros(pass, heads * step);
    if (d_weights == NULL) return NULL;
    /* The row that looks for row r's token; the end, which has no next one, is never guided. */
    const int64_t after = model->config.align_after ? 1 : 0;
    for (int64_t r = 0; r + after < rows; r++) {
        const int64_t first = batch->guide_starts[r], end = batch->guide_starts[r + 1];
        const double share = objective->guide / (double)(end - first);
        for (int64_t g = first; g < end; g++) {
            if (batch->guide_keys[g] < 0 || batch->guide_keys[g] >= longest) {
                return attn_nn_fail(pass, ATTN_ERROR_VALUE, "a guide key lies outside the source");
            }
            const int64_t at = (r + after) * longest + batch->guide_keys[g];
            const double w = fmax(mean_weight(weights, taught, step, at), least);
            loss->sum -= share * log(w);
            const double slope = -objective->scale * share / (w * (double)taught);
            for (int64_t h = 0; h < taught; h++) d_weights[h * step + at] += (real)slope;
        }
    }
    return d_weights;
}
