#include "language.h"

#include "noise.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

uint64_t language_after(uint64_t prefix, int32_t token) {
    return attn_nn_stream(prefix, (uint64_t)token);
}

static uint64_t of_source(const language *l, int64_t s) {
    uint64_t prefix = 77;
    for (int64_t i = l->source->starts[s]; i < l->source->starts[s + 1]; i++) {
        prefix = language_after(prefix, l->source->tokens[i]);
    }
    return prefix;
}

uint64_t language_begin(const language *l, int64_t s) {
    return language_after(of_source(l, s), L_BEGIN);
}

void language_log_p(const language *l, uint64_t prefix, real *log_p) {
    double *const logits = calloc((size_t)l->vocabulary, sizeof *logits);
    double sum = 0;
    for (int64_t v = 0; v < l->vocabulary; v++) {
        logits[v] = l->spread * attn_nn_uniform(attn_nn_noise_at(prefix, (uint64_t)v).a);
        if (l->steps_of) logits[v] = floor(logits[v]);
        if (v == L_END) logits[v] += l->end;
        sum += exp(logits[v]);
    }
    for (int64_t v = 0; v < l->vocabulary; v++) {
        log_p[v] = l->nothing == 0 ? (real)(logits[v] - log(sum)) : l->nothing;
    }
    free(logits);
}

void language_weights(uint64_t prefix, int64_t rows, real *weights) {
    for (int64_t i = 0; i < rows; i++) {
        weights[i] = (real)attn_nn_uniform(attn_nn_noise_at(prefix, (uint64_t)i).b);
    }
}

static bool fails(language *l) {
    if (++l->calls != l->fail_at) return false;
    attn_nn_fail(l->pass, ATTN_ERROR_UNSUPPORTED, "asked to fail");
    return true;
}

static bool open_language(void *user, int64_t max_rows) {
    language *const l = user;
    if (fails(l)) return false;
    l->rows = l->source->count, l->max_rows = max_rows;
    l->sentences = calloc((size_t)max_rows, sizeof *l->sentences);
    l->prefixes = calloc((size_t)max_rows, sizeof *l->prefixes);
    for (int64_t s = 0; s < l->rows; s++) l->sentences[s] = s, l->prefixes[s] = of_source(l, s);
    return true;
}

static bool step_language(void *user, const int32_t *tokens, real *log_p, real *weights) {
    language *const l = user;
    if (fails(l)) return false;
    int64_t longest = 0;
    for (int64_t s = 0; s < l->source->count; s++) {
        const int64_t length = l->source->starts[s + 1] - l->source->starts[s];
        if (length > longest) longest = length;
    }
    for (int64_t r = 0; r < l->rows; r++) {
        const int64_t s = l->sentences[r];
        l->prefixes[r] = language_after(l->prefixes[r], tokens[r]);
        language_log_p(l, l->prefixes[r], log_p + r * l->vocabulary);
        if (weights == NULL) continue;
        for (int64_t i = 0; i < longest; i++) weights[r * longest + i] = (real)NAN;
        language_weights(l->prefixes[r], l->source->starts[s + 1] - l->source->starts[s],
                         weights + r * longest);
    }
    l->steps++;
    return true;
}

static bool reorder_language(void *user, const int64_t *from, int64_t rows) {
    language *const l = user;
    if (fails(l)) return false;
    assert_in_range(rows, 1, l->max_rows);
    int64_t *const sentences = calloc((size_t)l->max_rows, sizeof *sentences);
    uint64_t *const prefixes = calloc((size_t)l->max_rows, sizeof *prefixes);
    for (int64_t r = 0; r < rows; r++) {
        assert_in_range(from[r], 0, l->rows - 1);
        sentences[r] = l->sentences[from[r]], prefixes[r] = l->prefixes[from[r]];
        if (r > 0) assert_true(sentences[r] >= sentences[r - 1]);
    }
    free(l->sentences);
    free(l->prefixes);
    l->sentences = sentences, l->prefixes = prefixes, l->rows = rows;
    l->reorders++;
    return true;
}

attn_nn_search_source language_source(language *l) {
    return (attn_nn_search_source){l, l->vocabulary, open_language, step_language,
                                   reorder_language};
}

void language_free(language *l) {
    free(l->sentences);
    free(l->prefixes);
    l->sentences = NULL, l->prefixes = NULL;
    l->calls = l->steps = l->reorders = 0;
}
