/* search_result.c: what was said, and the translations made of it. */
#include "search.h"

#include <stdlib.h>

/* Makes room for `more` elements behind `count`; the array, perhaps elsewhere, or NULL. */
static void *grow(void *array, int64_t count, int64_t more, int64_t *capacity, size_t size) {
    if (count + more <= *capacity) return array;
    int64_t enough = *capacity ? 2 * *capacity : 256;
    while (enough < count + more) enough *= 2;
    void *const grown = realloc(array, (size_t)enough * size);
    if (grown != NULL) *capacity = enough;
    return grown;
}

int64_t attn_nn_tree_add(attn_nn_tree *t, int64_t parent, int32_t token, const real *weights,
                         int64_t length) {
    attn_nn_said *const nodes = grow(t->nodes, t->count, 1, &t->capacity, sizeof *nodes);
    if (nodes == NULL) return -1;
    t->nodes = nodes;
    if (weights != NULL && length > 0) {
        real *const rows =
            grow(t->weights, t->weights_count, length, &t->weights_capacity, sizeof *rows);
        if (rows == NULL) return -1;
        t->weights = rows;
        memcpy(rows + t->weights_count, weights, (size_t)length * sizeof *rows);
    }
    nodes[t->count] = (attn_nn_said){parent, t->weights_count, token};
    if (weights != NULL) t->weights_count += length;
    return t->count++;
}

void attn_nn_tree_free(attn_nn_tree *t) {
    free(t->nodes);
    free(t->weights);
    memset(t, 0, sizeof *t);
}

/* --- Translations: one piece of memory ------------------------------------------------------------ */

typedef struct pieces {
    attn_nn_translations *translations;
    int64_t *starts;
    attn_nn_hypothesis *hypotheses;
    real *weights;
    int32_t *tokens;
} pieces;

static bool lay_out(pieces *p, int64_t sentences, int64_t hypotheses, int64_t weights,
                    int64_t tokens) {
    const size_t size = sizeof *p->translations + (size_t)(sentences + 1) * sizeof *p->starts +
                        (size_t)hypotheses * sizeof *p->hypotheses +
                        (size_t)weights * sizeof *p->weights + (size_t)tokens * sizeof *p->tokens;
    p->translations = malloc(size);
    if (p->translations == NULL) return false;
    p->starts = (int64_t *)(p->translations + 1);
    p->hypotheses = (attn_nn_hypothesis *)(p->starts + sentences + 1);
    p->weights = (real *)(p->hypotheses + hypotheses);
    p->tokens = (int32_t *)(p->weights + weights);
    *p->translations = (attn_nn_translations){sentences, p->starts, p->hypotheses};
    return true;
}

/* Walks from the end to the begin. rows: of the source; 0 if no weights are wanted. */
static attn_nn_hypothesis hypothesis_of(const attn_nn_tree *tree, const attn_nn_finished *f,
                                        pieces *p, int64_t rows) {
    const attn_nn_hypothesis made = {p->tokens, f->length, f->log_p, f->score,
                                     rows ? p->weights : NULL};
    int64_t node = f->node;
    for (int64_t i = f->length; i >= 0; i--) {
        const attn_nn_said said = tree->nodes[node];
        if (i < f->length) p->tokens[i] = said.token;
        if (rows > 0) {
            memcpy(p->weights + i * rows, tree->weights + said.weights,
                   (size_t)rows * sizeof *p->weights);
        }
        node = said.parent;
    }
    p->tokens += f->length;
    p->weights += (f->length + 1) * rows;
    return made;
}

attn_nn_translations *attn_nn_translations_make(const attn_nn_tree *tree,
                                                const attn_nn_sentences *source,
                                                const attn_nn_finished *finished,
                                                const int64_t *kept, int64_t n_best,
                                                bool want_weights) {
    int64_t hypotheses = 0, weights = 0, tokens = 0;
    for (int64_t s = 0; s < source->count; s++) {
        const int64_t rows = want_weights ? source->starts[s + 1] - source->starts[s] : 0;
        for (int64_t i = 0; i < kept[s]; i++) {
            const attn_nn_finished *const f = finished + s * n_best + i;
            hypotheses++, tokens += f->length, weights += (f->length + 1) * rows;
        }
    }
    pieces p;
    if (!lay_out(&p, source->count, hypotheses, weights, tokens)) return NULL;
    int64_t made = 0;
    for (int64_t s = 0; s < source->count; s++) {
        const int64_t rows = want_weights ? source->starts[s + 1] - source->starts[s] : 0;
        p.starts[s] = made;
        for (int64_t i = 0; i < kept[s]; i++) {
            p.hypotheses[made++] = hypothesis_of(tree, finished + s * n_best + i, &p, rows);
        }
    }
    p.starts[source->count] = made;
    return p.translations;
}

void attn_nn_translations_free(attn_nn_translations *translations) {
    free(translations);
}
