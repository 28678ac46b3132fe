/* search.h: what the files of the search share. It knows no model, but something that says which token
 * may come next, so that it can be tried on languages small enough to be listed. */
#ifndef NN_SEARCH_H
#define NN_SEARCH_H

#include "nn.h"

/* What is searched; see attn_nn_decoder_open, _step and _reorder. False: the pass has failed. */
typedef struct attn_nn_search_source {
    void *user;
    int64_t vocabulary;
    bool (*open)(void *user, int64_t max_rows);
    bool (*step)(void *user, const int32_t *tokens, real *log_p, real *weights);
    bool (*reorder)(void *user, const int64_t *from, int64_t rows);
} attn_nn_search_source;

attn_nn_translations *attn_nn_search_run(const attn_nn_search_source *from, attn_nn_pass *pass,
                                         const attn_nn_sentences *source,
                                         const attn_nn_search_options *options);

/* So that all that is counted fits 64 bits. */
enum { NN_BEAM_LIMIT = 4096 };

/* Makes the pass fail unless all options are of use; whether they are. */
bool attn_nn_search_check(attn_nn_pass *pass, const attn_nn_search_options *options,
                          int64_t vocabulary);

/* --- Candidates ----------------------------------------------------------------------------------- */

/* Row `row` goes on with `token`, and then has log p `total`. */
typedef struct attn_nn_candidate {
    double total;
    int64_t row;
    int32_t token;
} attn_nn_candidate;

/* The best so far, best first. */
typedef struct attn_nn_best {
    attn_nn_candidate *items; /* [capacity] */
    int64_t count, capacity;
} attn_nn_best;

/* Keeps what is best of `best` and of the continuations of a row, each of log p base + log_p[token].
 * Among equals the earlier stay. What is -inf or NaN is never kept. */
void attn_nn_keep_best(attn_nn_best *best, const real *log_p, int64_t vocabulary, double base,
                       int64_t row);

typedef struct attn_nn_choice {
    double mass;
    int32_t token;
} attn_nn_choice;

/* Brings to the front the fewest of the greatest masses (the lower token first among equals) whose sum,
 * or, if !by_mass, whose number, is `goal` or more, in no order; returns their number: all, if nothing
 * reaches the goal. */
int64_t attn_nn_leading(attn_nn_choice *choices, int64_t count, double goal, bool by_mass);

/* A token drawn with u within 0 and 1, as the options say; -1: none has a probability. Changes
 * choices [vocabulary]. */
int32_t attn_nn_draw(const real *log_p, int64_t vocabulary, const attn_nn_search_options *options,
                     double u, attn_nn_choice *choices);

/* --- What was said -------------------------------------------------------------------------------- */

/* All hypotheses, as a tree: each token that was said, and after which. */
typedef struct attn_nn_said {
    int64_t parent;  /* -1: the begin */
    int64_t weights; /* where its row begins in the tree's weights */
    int32_t token;
} attn_nn_said;

typedef struct attn_nn_tree {
    attn_nn_said *nodes;
    int64_t count, capacity;
    real *weights; /* rows as long as the source of whom they belong to; NULL: nobody asked */
    int64_t weights_count, weights_capacity;
} attn_nn_tree;

/* The new node, or -1. weights [length] may be NULL. */
int64_t attn_nn_tree_add(attn_nn_tree *tree, int64_t parent, int32_t token, const real *weights,
                         int64_t length);
void attn_nn_tree_free(attn_nn_tree *tree);

/* A hypothesis that has ended: `node` is its end. */
typedef struct attn_nn_finished {
    int64_t node, length;
    double log_p, score;
} attn_nn_finished;

/* finished [sentences, n_best], kept [sentences] of them. NULL: out of memory. */
attn_nn_translations *attn_nn_translations_make(const attn_nn_tree *tree,
                                                const attn_nn_sentences *source,
                                                const attn_nn_finished *finished,
                                                const int64_t *kept, int64_t n_best,
                                                bool want_weights);

#endif
