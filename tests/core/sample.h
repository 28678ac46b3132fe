/* sample.h: what the files that make samples share. */
#ifndef TESTS_CORE_SAMPLE_H
#define TESTS_CORE_SAMPLE_H

#include "support.h"

/* A tensor of this shape in guarded memory of just its length, with strides as the spec says. */
attn_tensor sample_tensor(sample *s, attn_dtype dtype, const int64_t shape[4], bool result,
                          stream *from);

void fill_normal(const attn_tensor *t, uint64_t seed, double spread);

/* Whether the spec has any of these rules, or of these terms. */
bool has_rule(const sample *s, unsigned rules);
bool has_term(const sample *s, unsigned terms);

/* Whether a score of this kind has a hidden vector, of which it takes tanh. */
bool has_hidden(attn_score_kind kind);

/* Columns of what is as wide as the keys: more than needed now and then, if packed. */
int64_t sample_columns(const sample *s, stream *from);
int64_t longest_slot(const sample *s, bool of_keys);

/* Parts of sample_make: what the kind of score needs and the terms add (before the results), and
 * the views (last). */
void sample_make_terms(sample *s, stream *from);
void sample_make_views(sample *s, stream *from);

#endif
