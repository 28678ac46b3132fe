/* attn_nn_batches: what comes out is the corpus, each pair once, in batches as promised. */
#include "attn/nn.h"

#include "noise.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { BEGIN = 1, END = 2, FIRST_WORD = 10 };

/* A corpus in memory of just its length. */
typedef struct text {
    attn_nn_corpus corpus;
    int64_t *source_starts, *target_starts, *guide_starts;
    int32_t *source, *target;
    attn_nn_link *links;
} text;

static int64_t pick(uint64_t seed, int64_t *place, int64_t bound) {
    return (int64_t)(attn_nn_noise_at(seed, (uint64_t)(*place)++).a % (uint64_t)bound);
}

/* Lengths 0 .. longest on either side; each word of a target has 0 to 2 links, in no order. */
static text make_text(int64_t pairs, int64_t longest, uint64_t seed) {
    text t = {0};
    int64_t place = 0, links = 0;
    const size_t most = (size_t)(pairs * longest) + 1;
    t.source_starts = calloc((size_t)pairs + 1, sizeof *t.source_starts);
    t.target_starts = calloc((size_t)pairs + 1, sizeof *t.target_starts);
    t.guide_starts = calloc((size_t)pairs + 1, sizeof *t.guide_starts);
    t.source = calloc(most, sizeof *t.source);
    t.target = calloc(most, sizeof *t.target);
    t.links = calloc(2 * most, sizeof *t.links);
    for (int64_t p = 0; p < pairs; p++) {
        const int64_t n = pick(seed, &place, longest + 1), m = pick(seed, &place, longest + 1);
        t.source_starts[p + 1] = t.source_starts[p] + n;
        t.target_starts[p + 1] = t.target_starts[p] + m;
        for (int64_t k = pick(seed, &place, 2 * m + 1); n > 0 && k > 0; k--) {
            t.links[links++] =
                (attn_nn_link){(int32_t)pick(seed, &place, n), (int32_t)pick(seed, &place, m)};
        }
        t.guide_starts[p + 1] = links;
    }
    /* All words differ: a word says where it was. */
    for (int64_t i = 0; i < t.source_starts[pairs]; i++) t.source[i] = (int32_t)(FIRST_WORD + i);
    for (int64_t i = 0; i < t.target_starts[pairs]; i++) t.target[i] = (int32_t)(FIRST_WORD + i);
    t.corpus = (attn_nn_corpus){pairs,    t.source_starts, t.target_starts, t.source,
                                t.target, t.guide_starts,  t.links};
    return t;
}

static void free_text(text *t) {
    free(t->source_starts);
    free(t->target_starts);
    free(t->guide_starts);
    free(t->source);
    free(t->target);
    free(t->links);
}

static attn_nn_batches_options options_of(int64_t tokens, int64_t shards, uint64_t seed) {
    attn_nn_batches_options o = {0};
    o.tokens = tokens, o.shards = shards, o.pool = 4, o.seed = seed;
    o.begin = BEGIN, o.end = END;
    return o;
}

static attn_nn_batches *open_batches(const text *t, const attn_nn_batches_options *o) {
    attn_nn_batches *b = NULL;
    assert_int_equal(attn_nn_batches_open(&t->corpus, o, &b), ATTN_OK);
    assert_non_null(b);
    return b;
}

static int64_t length_of(const int64_t *starts, int64_t i) {
    return starts[i + 1] - starts[i];
}

/* The guide of a row: the links of its word in the order of the corpus. */
static void check_guide(const text *t, const attn_nn_batch *batch, int64_t pair, int64_t row,
                        int64_t word) {
    int64_t k = batch->guide_starts[row];
    for (int64_t i = t->guide_starts[pair]; i < t->guide_starts[pair + 1]; i++) {
        if (t->links[i].target != word) continue;
        assert_true(k < batch->guide_starts[row + 1]);
        assert_int_equal(batch->guide_keys[k++], t->links[i].source);
    }
    assert_int_equal(k, batch->guide_starts[row + 1]);
}

static void check_pair(const text *t, const attn_nn_batch *batch, int64_t i, int64_t pair) {
    const int64_t n = length_of(t->source_starts, pair), m = length_of(t->target_starts, pair);
    const int64_t at = batch->source.starts[i], to = batch->target.starts[i];
    assert_int_equal(length_of(batch->source.starts, i), n + 1);
    assert_int_equal(length_of(batch->target.starts, i), m + 1);
    for (int64_t k = 0; k < n; k++) {
        assert_int_equal(batch->source.tokens[at + k], t->source[t->source_starts[pair] + k]);
    }
    assert_int_equal(batch->source.tokens[at + n], END);
    assert_int_equal(batch->target.tokens[to], BEGIN);
    for (int64_t k = 0; k < m; k++) {
        const int32_t word = t->target[t->target_starts[pair] + k];
        assert_int_equal(batch->target.tokens[to + k + 1], word);
        assert_int_equal(batch->labels[to + k], word);
    }
    assert_int_equal(batch->labels[to + m], END);
    for (int64_t k = 0; k <= m; k++) check_guide(t, batch, pair, to + k, k);
}

static int64_t check_shard(const text *t, const attn_nn_batch *batch, const int64_t *pairs,
                           int *seen) {
    assert_int_equal(batch->source.count, batch->target.count);
    assert_int_equal(batch->source.starts[0], 0);
    assert_int_equal(batch->target.starts[0], 0);
    assert_int_equal(batch->guide_starts[0], 0);
    for (int64_t i = 0; i < batch->source.count; i++) {
        seen[pairs[i]]++;
        check_pair(t, batch, i, pairs[i]);
        if (i == 0) continue;
        assert_true(length_of(batch->target.starts, i) <= length_of(batch->target.starts, i - 1));
    }
    return batch->source.starts[batch->source.count] + batch->target.starts[batch->target.count];
}

/* An epoch: each pair that is not too long once; sizes of batches and of their shards. A batch without
 * its last pair has fewer rows than `tokens`, so with it no more than with the largest pair added. When
 * the shard with the most rows got its last pair it had the fewest, so it has at most a pair's more. */
static void check_epoch(const text *t, const attn_nn_batches_options *o, int64_t epoch) {
    attn_nn_batches *const b = open_batches(t, o);
    int *const seen = calloc((size_t)t->corpus.pairs + 1, sizeof *seen);
    int64_t largest = 0, kept = 0;
    for (int64_t p = 0; p < t->corpus.pairs; p++) {
        const int64_t n = length_of(t->source_starts, p), m = length_of(t->target_starts, p);
        if (o->max_length && (n > o->max_length || m > o->max_length)) continue;
        kept++;
        if (n + m + 2 > largest) largest = n + m + 2;
    }
    assert_int_equal(attn_nn_batches_pairs(b), kept);
    const int64_t count = attn_nn_batches_count(b, epoch);
    for (int64_t i = 0; i < count; i++) {
        int64_t rows = 0, most = 0, least = INT64_MAX;
        for (int64_t s = 0; s < o->shards; s++) {
            attn_nn_batch batch;
            const int64_t *pairs = NULL;
            assert_int_equal(attn_nn_batches_get(b, epoch, i, s, &batch, &pairs), ATTN_OK);
            const int64_t cost = check_shard(t, &batch, pairs, seen);
            rows += cost;
            if (cost > most) most = cost;
            if (cost < least) least = cost;
        }
        assert_true(rows > 0);
        assert_true(rows < o->tokens + largest);
        assert_true(most - least <= largest);
    }
    for (int64_t p = 0; p < t->corpus.pairs; p++) {
        const int64_t n = length_of(t->source_starts, p), m = length_of(t->target_starts, p);
        const bool out = o->max_length && (n > o->max_length || m > o->max_length);
        assert_int_equal(seen[p], out ? 0 : 1);
    }
    free(seen);
    attn_nn_batches_close(b);
}

static void each_pair_once(void **state) {
    (void)state;
    static const int64_t pairs[] = {0, 1, 2, 7, 300}, longest[] = {0, 1, 5, 40};
    static const int64_t tokens[] = {1, 30, 200, 100000}, shards[] = {1, 2, 3};
    for (size_t a = 0; a < 5; a++) {
        for (size_t c = 0; c < 4; c++) {
            text t = make_text(pairs[a], longest[c], 100 * a + c);
            for (size_t d = 0; d < 12; d++) {
                attn_nn_batches_options o = options_of(tokens[d / 3], shards[d % 3], d);
                check_epoch(&t, &o, 0);
                check_epoch(&t, &o, 5);
                o.in_order = true;
                check_epoch(&t, &o, 0);
                o.in_order = false, o.max_length = 4;
                check_epoch(&t, &o, 1);
            }
            free_text(&t);
        }
    }
}

/* What an epoch deals, as one list of pairs; each batch ends with -1. */
static int64_t *deal_of(const text *t, const attn_nn_batches_options *o, int64_t epoch,
                        int64_t *length) {
    attn_nn_batches *const b = open_batches(t, o);
    int64_t *const list = calloc((size_t)(2 * t->corpus.pairs) + 1, sizeof *list);
    *length = 0;
    for (int64_t i = 0; i < attn_nn_batches_count(b, epoch); i++) {
        attn_nn_batch batch;
        const int64_t *pairs = NULL;
        assert_int_equal(attn_nn_batches_get(b, epoch, i, 0, &batch, &pairs), ATTN_OK);
        for (int64_t k = 0; k < batch.source.count; k++) list[(*length)++] = pairs[k];
        list[(*length)++] = -1;
    }
    attn_nn_batches_close(b);
    return list;
}

static bool same_deal(const text *t, const attn_nn_batches_options *a, int64_t epoch_a,
                      const attn_nn_batches_options *b, int64_t epoch_b) {
    int64_t length_a = 0, length_b = 0;
    int64_t *const list_a = deal_of(t, a, epoch_a, &length_a);
    int64_t *const list_b = deal_of(t, b, epoch_b, &length_b);
    const bool same =
        length_a == length_b && memcmp(list_a, list_b, (size_t)length_a * sizeof *list_a) == 0;
    free(list_a);
    free(list_b);
    return same;
}

static void seed_and_epoch_decide(void **state) {
    (void)state;
    text t = make_text(200, 20, 3);
    attn_nn_batches_options a = options_of(300, 1, 7), b = options_of(300, 1, 8);
    assert_true(same_deal(&t, &a, 2, &a, 2));
    assert_false(same_deal(&t, &a, 2, &a, 3));
    assert_false(same_deal(&t, &a, 2, &b, 2));
    a.in_order = b.in_order = true;
    assert_true(same_deal(&t, &a, 0, &b, 9));
    free_text(&t);
}

/* Whatever was asked for before, (epoch, index, shard) gives the same batch; next walks them all. */
static void any_place_at_any_time(void **state) {
    (void)state;
    text t = make_text(90, 12, 5);
    const attn_nn_batches_options o = options_of(120, 2, 7);
    attn_nn_batches *const walk = open_batches(&t, &o);
    int64_t epoch = 0, index = 0, steps = 0, expected = 0;
    for (; epoch < 3; steps++, attn_nn_batches_next(walk, &epoch, &index)) {
        attn_nn_batches *const jump = open_batches(&t, &o);
        attn_nn_batch a, b;
        assert_int_equal(attn_nn_batches_get(walk, epoch, index, 1, &a, NULL), ATTN_OK);
        assert_int_equal(attn_nn_batches_get(jump, epoch, index, 1, &b, NULL), ATTN_OK);
        const int64_t rows = a.target.starts[a.target.count];
        assert_int_equal(a.target.count, b.target.count);
        assert_int_equal(rows, b.target.starts[b.target.count]);
        assert_memory_equal(a.labels, b.labels, (size_t)rows * sizeof *a.labels);
        attn_nn_batches_close(jump);
    }
    for (int64_t e = 0; e < 3; e++) expected += attn_nn_batches_count(walk, e);
    assert_int_equal(steps, expected);
    attn_nn_batches_close(walk);
    free_text(&t);
}

static void in_order_lengths_fall(void **state) {
    (void)state;
    text t = make_text(250, 25, 9);
    attn_nn_batches_options o = options_of(150, 1, 0);
    o.in_order = true;
    int64_t length = 0, latest = INT64_MAX;
    int64_t *const list = deal_of(&t, &o, 0, &length);
    for (int64_t i = 0; i < length; i++) {
        if (list[i] < 0) continue;
        assert_true(length_of(t.target_starts, list[i]) <= latest);
        latest = length_of(t.target_starts, list[i]);
    }
    free(list);
    free_text(&t);
}

/* In N = 6000 epochs, what happens with probability p happens a binomial number of times, of standard
 * deviation sqrt(N p (1 - p)) < 39 for any p. A number is 6 of them off, by chance, once in 2^28 (the
 * tail of a normal beyond 6 is below 2^-29 on each side). */
enum { PAIRS = 6, EPOCHS = 6000, OFF = 6 * 39 };

/* One pool, and a batch for each pair: each comes at each of 6 places in a sixth of the epochs. */
static void batches_are_shuffled_evenly(void **state) {
    (void)state;
    text t = make_text(PAIRS, 3, 11);
    attn_nn_batches_options o = options_of(1, 1, 13);
    o.pool = 1000;
    int hits[PAIRS][PAIRS] = {{0}};
    attn_nn_batches *const b = open_batches(&t, &o);
    for (int64_t e = 0; e < EPOCHS; e++) {
        assert_int_equal(attn_nn_batches_count(b, e), PAIRS);
        for (int64_t i = 0; i < PAIRS; i++) {
            attn_nn_batch batch;
            const int64_t *pairs = NULL;
            assert_int_equal(attn_nn_batches_get(b, e, i, 0, &batch, &pairs), ATTN_OK);
            hits[i][pairs[0]]++;
        }
    }
    for (int i = 0; i < PAIRS * PAIRS; i++) {
        assert_in_range(hits[i / PAIRS][i % PAIRS], EPOCHS / PAIRS - OFF, EPOCHS / PAIRS + OFF);
    }
    attn_nn_batches_close(b);
    free_text(&t);
}

/* Pools of one batch of three pairs, all of the same length: a pair is with each other one in two
 * fifths of the epochs. */
static void pairs_are_shuffled_evenly(void **state) {
    (void)state;
    text t = make_text(PAIRS, 0, 11);
    attn_nn_batches_options o = options_of(2 * 3, 1, 13);
    o.pool = 1;
    int hits[PAIRS][PAIRS] = {{0}};
    attn_nn_batches *const b = open_batches(&t, &o);
    for (int64_t i = 0; i < 2 * EPOCHS; i++) {
        attn_nn_batch batch;
        const int64_t *pairs = NULL;
        assert_int_equal(attn_nn_batches_get(b, i / 2, i % 2, 0, &batch, &pairs), ATTN_OK);
        assert_int_equal(batch.source.count, 3);
        for (int k = 0; k < 9; k++) hits[pairs[k / 3]][pairs[k % 3]]++;
    }
    for (int i = 0; i < PAIRS * PAIRS; i++) {
        const int expected = i / PAIRS == i % PAIRS ? EPOCHS : 2 * EPOCHS / 5;
        assert_in_range(hits[i / PAIRS][i % PAIRS], expected - OFF, expected + OFF);
    }
    attn_nn_batches_close(b);
    free_text(&t);
}

/* Pairs of one batch are near each other in length: a pool of 64 batches that hold 10 pairs or so is
 * sorted, so a batch spans about a 64th of the lengths 0 .. 63, and not the half that unsorted ones
 * would. The mean span over an epoch is held against 8. */
static void lengths_of_a_batch_are_alike(void **state) {
    (void)state;
    text t = make_text(3000, 63, 21);
    attn_nn_batches_options o = options_of(640, 1, 5);
    o.pool = 0;
    int64_t span = 0;
    attn_nn_batches *const b = open_batches(&t, &o);
    const int64_t count = attn_nn_batches_count(b, 0);
    for (int64_t i = 0; i < count; i++) {
        attn_nn_batch batch;
        assert_int_equal(attn_nn_batches_get(b, 0, i, 0, &batch, NULL), ATTN_OK);
        span += length_of(batch.target.starts, 0) -
                length_of(batch.target.starts, batch.target.count - 1);
    }
    assert_true(span < 8 * count);
    attn_nn_batches_close(b);
    free_text(&t);
}

static void refused(const attn_nn_corpus *c, const attn_nn_batches_options *o, attn_status status,
                    const char *word) {
    attn_nn_batches *b = (attn_nn_batches *)(uintptr_t)1;
    assert_int_equal(attn_nn_batches_open(c, o, &b), status);
    assert_null(b);
    assert_non_null(strstr(attn_nn_error_message(), word));
}

static void wrong_corpora(const text *t, const attn_nn_batches_options *o) {
    attn_nn_corpus c = t->corpus;
    c.pairs = -1;
    refused(&c, o, ATTN_ERROR_VALUE, "corpus.pairs");
    c = t->corpus, c.source_tokens = NULL;
    refused(&c, o, ATTN_ERROR_NULL, "array");
    c = t->corpus, c.guide_links = NULL;
    refused(&c, o, ATTN_ERROR_NULL, "guide_links");
    const int64_t falling[] = {0, 4, 3, 5, 6}, late[] = {1, 1, 2, 3, 4};
    c = t->corpus, c.source_starts = falling;
    refused(&c, o, ATTN_ERROR_VALUE, "source_starts");
    c = t->corpus, c.target_starts = late;
    refused(&c, o, ATTN_ERROR_VALUE, "target_starts");
    const int64_t starts[] = {0, 1, 1, 1, 1};
    const attn_nn_link outside[] = {{(int32_t)length_of(t->source_starts, 0), 0}};
    c = t->corpus, c.guide_starts = starts, c.guide_links = outside;
    refused(&c, o, ATTN_ERROR_VALUE, "guide_links");
}

static void refusals(void **state) {
    (void)state;
    text t = make_text(4, 6, 1);
    attn_nn_batches_options o = options_of(50, 2, 0);
    wrong_corpora(&t, &o);
    refused(NULL, &o, ATTN_ERROR_NULL, "corpus");
    o.tokens = -1;
    refused(&t.corpus, &o, ATTN_ERROR_VALUE, "tokens");
    o = options_of(50, -2, 0);
    refused(&t.corpus, &o, ATTN_ERROR_VALUE, "shards");
    o = options_of(50, 2, 0), o.pool = -1;
    refused(&t.corpus, &o, ATTN_ERROR_VALUE, "pool");
    o = options_of(50, 2, 0), o.max_length = -1;
    refused(&t.corpus, &o, ATTN_ERROR_VALUE, "max_length");
    o = options_of(50, 2, 0), o.begin = -1;
    refused(&t.corpus, &o, ATTN_ERROR_VALUE, "begin");
    o = options_of(50, 2, 0);
    attn_nn_batches *const b = open_batches(&t, &o);
    attn_nn_batch batch;
    const int64_t count = attn_nn_batches_count(b, 0);
    assert_int_equal(attn_nn_batches_get(b, -1, 0, 0, &batch, NULL), ATTN_ERROR_VALUE);
    assert_int_equal(attn_nn_batches_get(b, 0, count, 0, &batch, NULL), ATTN_ERROR_VALUE);
    assert_int_equal(attn_nn_batches_get(b, 0, 0, 2, &batch, NULL), ATTN_ERROR_VALUE);
    attn_nn_batches_close(b);
    free_text(&t);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_pair_once),
        cmocka_unit_test(seed_and_epoch_decide),
        cmocka_unit_test(any_place_at_any_time),
        cmocka_unit_test(in_order_lengths_fall),
        cmocka_unit_test(batches_are_shuffled_evenly),
        cmocka_unit_test(pairs_are_shuffled_evenly),
        cmocka_unit_test(lengths_of_a_batch_are_alike),
        cmocka_unit_test(refusals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
