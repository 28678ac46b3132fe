/* call.h: what the calls of this folder share: blocks of one head's queries, what of the forward was
 * kept or is missing, and scratch. */
#ifndef ATTN_GRADIENT_CALL_H
#define ATTN_GRADIENT_CALL_H

#include "api/context.h"
#include "attention/worker.h"

static inline bool attn_is_given(const attn_tensor *t) {
    return t->data != NULL;
}

/* ------------------------------------------------------------------------------------- blocks */

/* A head's block of queries is cut as the forward cuts it, but has a head alone also where queries are
 * few: keys are read again, out of the cache. */
bool attn_head_is_few(const attn_plan *plan, const attn_sequence *sequence);
int attn_head_block_queries(const attn_plan *plan, const attn_sequence *sequence);
int64_t attn_head_blocks(const attn_plan *plan, const attn_sequence *sequence);

/* With all keys in sight, and in tiles that may be kept. */
attn_block attn_head_block(const attn_plan *plan, const attn_sequence *sequence, int64_t head,
                           int64_t block);

/* The sequence in whose stretch of prefix sums a place lies: first[i * step] is where i begins. */
int64_t attn_sequence_of(const int64_t *first, int64_t step, int64_t sequences, int64_t place);

/* Where the block's first query, or a key of its sequence, has its row in a tensor with a row for each. */
void *attn_query_rows(const attn_worker *w, const attn_tensor *t, const attn_block *b);
void *attn_key_rows(const attn_worker *w, const attn_tensor *t, const attn_block *b, int64_t key);

/* A number of every query, `stride` apart, times factor, into a row; `beyond` into its other lanes. */
void attn_load_numbers(const attn_worker *w, const attn_block *b, void *row, const void *from,
                       int64_t stride, double factor, double beyond);

/* The log2-sum-exp of the block's rows. Lanes beyond the rows get infinity, so that no weight is left
 * there. */
void attn_load_base(const attn_worker *w, const attn_block *b, void *row, const attn_tensor *lse);

/* In a tile of few: the lanes beyond the keys to a number. */
void attn_pad_few(const attn_worker *w, const attn_block *b, const attn_tile *tile, void *elements,
                  double number);

/* ------------------------------------------------------------------------------------ scratch */

/* Hands out the next bytes of memory, or, where that is NULL, only counts them; in double too, which no
 * product overflows. What is not wanted is NULL. */
typedef struct {
    char *memory;
    size_t used;
    double whole;
} attn_carver;

void *attn_carve(attn_carver *c, bool wanted, double count, size_t size);

/* Takes scratch of so many bytes, or fails. */
attn_status attn_take_scratch(attn_context *context, double bytes, char **memory);

/* How many threads so many multiply-adds a pair are worth, if there are so many tasks. */
int attn_worker_count(const attn_plan *plan, double work_of_pair, int64_t tasks, int threads);

/* ------------------------------------------------------------------------------- saved results */

/* The forward's output and log-sum-exp: the caller's, or in scratch. */
typedef struct {
    attn_tensor output, lse;
    bool lacks_output, lacks_lse;
} attn_saved;

void attn_carve_saved(attn_carver *c, attn_saved *saved, const attn_problem *problem,
                      size_t element_size);

/* Runs the forward for what is lacking. */
attn_status attn_find_saved(attn_context *context, const attn_saved *saved,
                            const attn_problem *problem);

#endif
