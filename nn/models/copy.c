/* copy.c: the pointer-generator (See et al. 2017). With q = softmax(logits), a[j] the alignment's weight
 * of source row j, and g = sigmoid(t), t = u . state + b:
 *
 *     p[v] = g q[v] + (1 - g) c[v],   c[v] = sum of a[j] over rows j whose token is v
 *
 * The loss of a row is -sum over v of w[v] log p[v], where w[v] = (1 - smoothing) (v == label)
 * + smoothing/n. Let s[v] = g q[v] / p[v] be the share of p[v] that was generated, 1 where c[v] is 0, and
 * R = sum of w[v] s[v]. Then
 *
 *     d/dlogit[v] = R q[v] - w[v] s[v]
 *     d/dt        = g - R
 *     d/da[j]     = -(1 - g) w[v] / p[v],   v the token of j
 *
 * which is the plain softmax's gradient but for R and the few tokens of the source. All of p is held as
 * logarithms: a g of nearly 0 or 1 takes none of them away. */
#include "copy.h"

#include <math.h>

/* log(exp(a) + exp(b)) */
static double log_add(double a, double b) {
    const double greater = a > b ? a : b, lesser = a > b ? b : a;
    return greater + log1p(exp(lesser - greater));
}

/* log(sigmoid(t)) */
static double log_sigmoid(double t) {
    return t < 0 ? t - log1p(exp(t)) : -log1p(exp(-t));
}

/* `place` [vocabulary] says where in the sentence at hand each of its tokens was first seen. */
static const int64_t *find_first(const attn_nn_model *model, attn_nn_pass *pass,
                                 const attn_nn_sentences *source) {
    const size_t size = (size_t)model->config.vocabulary * sizeof(int64_t);
    int64_t *const first =
        attn_nn_take_bytes(pass, (size_t)attn_nn_rows(source) * sizeof *first + sizeof *first);
    const size_t mark = attn_nn_mark(pass);
    int64_t *const place = attn_nn_take_bytes(pass, size);
    if (attn_nn_failed(pass)) return NULL;
    for (int64_t s = 0; s < source->count; s++) {
        const int64_t start = source->starts[s], end = source->starts[s + 1];
        for (int64_t r = start; r < end; r++) place[source->tokens[r]] = -1;
        for (int64_t r = start; r < end; r++) {
            int64_t *const at = &place[source->tokens[r]];
            if (*at < 0) *at = r - start;
            first[r] = *at;
        }
    }
    attn_nn_release(pass, mark);
    return first;
}

bool attn_nn_copy_begin(const attn_nn_model *model, attn_nn_pass *pass,
                        const attn_nn_source_weights *from, const real *states, int64_t rows,
                        attn_nn_copying *copying) {
    const size_t size = (size_t)from->longest * sizeof *copying->mass;
    memset(copying, 0, sizeof *copying);
    copying->from = from, copying->rows = rows;
    copying->first = find_first(model, pass, from->source);
    copying->gate = attn_nn_linear_forward(pass, &model->copy, states, rows);
    if (from->d_weights != NULL) copying->d_gate = attn_nn_take(pass, rows);
    copying->mass = attn_nn_take_bytes(pass, size);
    copying->log_p = attn_nn_take_bytes(pass, size);
    copying->generated = attn_nn_take_bytes(pass, size);
    return !attn_nn_failed(pass);
}

/* One row and the sentence that it may copy from. */
typedef struct {
    const int32_t *tokens;
    const int64_t *first;
    int64_t count;
    double log_g, log_not; /* log g, log(1 - g) */
    double lse;
} row;

/* Finds log p of the source's tokens, and the logarithm of what of it is generated, each at its first
 * place. */
static row copy_row(const attn_nn_copying *copying, const real *logits, double lse, int64_t r) {
    const attn_nn_source_weights *const from = copying->from;
    const int64_t start = from->source->starts[from->sentence[r]];
    const row at = {
        .tokens = from->source->tokens + start,
        .first = copying->first + start,
        .count = from->source->starts[from->sentence[r] + 1] - start,
        .log_g = log_sigmoid((double)copying->gate[r]),
        .log_not = log_sigmoid(-(double)copying->gate[r]),
        .lse = lse,
    };
    const int64_t head = copying->rows * from->longest;
    for (int64_t j = 0; j < at.count; j++) {
        double mean = 0;
        for (int64_t h = 0; h < from->taught; h++) {
            mean += (double)from->weights[h * head + r * from->longest + j];
        }
        if (at.first[j] == j) copying->mass[j] = 0;
        copying->mass[at.first[j]] += mean / (double)from->taught;
    }
    for (int64_t j = 0; j < at.count; j++) {
        if (at.first[j] != j) continue;
        const double generated = at.log_g + (double)logits[at.tokens[j]] - lse;
        const double mass = copying->mass[j];
        copying->generated[j] = generated;
        copying->log_p[j] = mass > 0 ? log_add(generated, at.log_not + log(mass)) : generated;
    }
    return at;
}

void attn_nn_copy_log_p(attn_nn_pass *pass, attn_nn_copying *copying, real *logits,
                        int64_t vocabulary, int64_t r) {
    if (attn_nn_failed(pass)) return;
    const attn_nn_kernels *const k = attn_nn_kernels_of(pass);
    const row at = copy_row(copying, logits, k->log_sum_exp(logits, vocabulary), r);
    k->subtract(logits, at.lse - at.log_g, vocabulary);
    for (int64_t j = 0; j < at.count; j++) {
        if (at.first[j] == j) logits[at.tokens[j]] = (real)copying->log_p[j];
    }
}

/* The row's loss. */
static void add_loss(const attn_nn_copying *copying, const row *at, const attn_nn_kernels *k,
                     const real *logits, int64_t vocabulary, int32_t label, double smoothing,
                     attn_nn_loss *loss) {
    const double smooth = smoothing / (double)vocabulary, base = at->log_g - at->lse;
    double of_label = (double)logits[label] + base, of_all = 0;
    for (int64_t j = 0; j < at->count; j++) {
        if (at->first[j] != j) continue;
        of_all += copying->log_p[j] - copying->generated[j];
        if (at->tokens[j] == label) of_label = copying->log_p[j];
    }
    if (smoothing > 0) of_all += k->sum(logits, vocabulary) + (double)vocabulary * base;
    loss->sum -= (1 - smoothing) * of_label + smooth * of_all;
    loss->likelihood -= of_label;
    loss->rows++;
}

/* d_a[j], the same for each head that counts. */
static void weights_back(const attn_nn_copying *copying, const row *at, int64_t r, int32_t label,
                         double smoothing, double smooth, double scale) {
    const attn_nn_source_weights *const from = copying->from;
    const int64_t head = copying->rows * from->longest;
    for (int64_t j = 0; j < at->count; j++) {
        const double w = smooth + (at->tokens[j] == label ? 1 - smoothing : 0);
        const double d = -scale * w * exp(at->log_not - copying->log_p[at->first[j]]);
        for (int64_t h = 0; h < from->taught; h++) {
            from->d_weights[h * head + r * from->longest + j] += (real)(d / (double)from->taught);
        }
    }
}

/* Logits become their gradients. */
static void row_back(const attn_nn_copying *copying, const row *at, const attn_nn_kernels *k,
                     real *logits, int64_t vocabulary, int64_t r, int32_t label,
                     const attn_nn_objective *objective) {
    const double smoothing = objective->smoothing, smooth = smoothing / (double)vocabulary;
    const double scale = objective->scale;
    double generated = 1; /* R */
    for (int64_t j = 0; j < at->count; j++) {
        if (at->first[j] != j) continue;
        const double w = smooth + (at->tokens[j] == label ? 1 - smoothing : 0);
        generated -= w * (1 - exp(copying->generated[j] - copying->log_p[j]));
    }
    /* A rounding below 0, where all was copied. */
    if (generated < 0) generated = 0;
    k->softmax_gradient(logits, at->lse, generated > 0 ? smooth / generated : 0, scale * generated,
                        vocabulary);
    logits[label] -= (real)(scale * (1 - smoothing));
    for (int64_t j = 0; j < at->count; j++) {
        if (at->first[j] != j) continue;
        const double w = smooth + (at->tokens[j] == label ? 1 - smoothing : 0);
        logits[at->tokens[j]] +=
            (real)(scale * w * (1 - exp(copying->generated[j] - copying->log_p[j])));
    }
    copying->d_gate[r] = (real)(scale * (exp(at->log_g) - generated));
    weights_back(copying, at, r, label, smoothing, smooth, scale);
}

void attn_nn_copy_cross_entropy(attn_nn_pass *pass, attn_nn_copying *copying, real *logits,
                                int64_t vocabulary, const int32_t *labels, int64_t first,
                                int64_t count, const attn_nn_objective *objective,
                                attn_nn_loss *loss) {
    if (attn_nn_failed(pass)) return;
    const attn_nn_kernels *const k = attn_nn_kernels_of(pass);
    for (int64_t r = 0; r < count; r++) {
        real *const x = logits + r * vocabulary;
        if (labels[r] < 0 || labels[r] >= vocabulary) {
            attn_nn_fail(pass, ATTN_ERROR_VALUE, "a label lies outside the vocabulary");
            return;
        }
        const row at = copy_row(copying, x, k->log_sum_exp(x, vocabulary), first + r);
        add_loss(copying, &at, k, x, vocabulary, labels[r], objective->smoothing, loss);
        if (copying->d_gate == NULL) continue;
        row_back(copying, &at, k, x, vocabulary, first + r, labels[r], objective);
    }
}

void attn_nn_copy_end(const attn_nn_model *model, attn_nn_pass *pass,
                      const attn_nn_copying *copying, const real *states, real *d_states) {
    if (copying->d_gate == NULL) return;
    attn_nn_linear_backward(pass, &model->copy, states, copying->d_gate, copying->rows, d_states);
}
