/* test_reference_scores.c: each score of the reference against numbers worked out by hand, and T5's
 * buckets against those of the published code. */
#include "small.h"

#include <math.h>
#include <string.h>

/* Half of tanh's argument where tanh is 1/2, and where it is 4/5. */
static double half(void) {
    return log(3) / 2;
}
static double four_fifths(void) {
    return log(3);
}

/* One head of 1 query and 2 keys of width 2, whose scores are looked at. */
typedef struct scored {
    attn_problem problem;
    attn_views views;
    double query[2], key[4], value[2];
    double raw[2], capped[2], scores[2];
} scored;

static void scored_make(scored *s, attn_score_kind kind) {
    *s = (scored){.query = {1, 2}, .key = {5, 6, -1, 3}};
    s->problem.query = attn_tensor_f64(s->query, 1, 1, 1, 2);
    s->problem.key = attn_tensor_f64(s->key, 1, 1, 2, 2);
    s->problem.value = attn_tensor_f64(s->value, 1, 1, 2, 1);
    s->problem.score.kind = kind;
    s->problem.views = &s->views;
    s->views.raw_scores = attn_tensor_f64(s->raw, 1, 1, 1, 2);
    s->views.capped_scores = attn_tensor_f64(s->capped, 1, 1, 1, 2);
    s->views.scores = attn_tensor_f64(s->scores, 1, 1, 1, 2);
}

/* Of a handful of operations, tanh among them, on sums of at most 2 in size: 64 u is plenty; what
 * has no tanh and no root is exact. */
static void assert_scores(scored *s, double first, double second, double bound) {
    if (attn_reference_forward(&s->problem) != ATTN_OK) fail_msg("%s", attn_error_message());
    assert_number(s->scores[0], first, bound);
    assert_number(s->scores[1], second, bound);
}

static const double EXACT = 0, CLOSE = 64 * 0x1p-53;

static void dot_and_its_default_scale(void **state) {
    (void)state;
    scored s;
    scored_make(&s, ATTN_SCORE_DOT);
    s.problem.score.scale = 1;
    assert_scores(&s, 17, 5, EXACT);
    s.problem.score.scale = 0;
    assert_scores(&s, 17 / sqrt(2), 5 / sqrt(2),
                  17 * 4 * 0x1p-53); /* a root, a quotient, a product */
}

/* q^T W = (1 + 6, 2 + 8) */
static void general(void **state) {
    (void)state;
    const double weight[] = {1, 2, 3, 4};
    scored s;
    scored_make(&s, ATTN_SCORE_GENERAL);
    s.problem.score.weight = attn_tensor_f64(weight, 1, 1, 2, 2);
    assert_scores(&s, 7 * 5 + 10 * 6, -7 + 30, EXACT);
}

/* [1 2; 3 4; 5 6] takes 3 features of keys to 2 of queries when read as [2][3]. */
static void general_of_two_widths(void **state) {
    (void)state;
    const double weight[] = {1, 2, 3, 4, 5, 6}, key[] = {1, 1, 1, 0, 1, -1};
    scored s;
    scored_make(&s, ATTN_SCORE_GENERAL);
    s.problem.score.weight = attn_tensor_f64(weight, 1, 1, 2, 3);
    s.problem.key = attn_tensor_f64(key, 1, 1, 2, 3);
    assert_scores(&s, 6 + 2 * 15, (2 - 3) + 2 * (5 - 6), EXACT);
}

static void additive(void **state) {
    (void)state;
    const double weight[] = {2, -5}, offset[] = {0, four_fifths()};
    scored s;
    scored_make(&s, ATTN_SCORE_ADDITIVE);
    s.query[0] = 1, s.query[1] = 2;
    s.key[0] = half() - 1, s.key[1] = -2;  /* tanh: 1/2, 0 */
    s.key[2] = -half() - 1, s.key[3] = -2; /* tanh: -1/2, 0 */
    s.problem.score.weight = attn_tensor_f64(weight, 1, 1, 1, 2);
    assert_scores(&s, 1, -1, CLOSE);
    s.problem.score.offset = attn_tensor_f64(offset, 1, 1, 1, 2); /* second: 4/5 */
    assert_scores(&s, 1 - 4, -1 - 4, CLOSE);
    s.problem.score.normalize_weight = true;
    assert_scores(&s, -3 / sqrt(29), -5 / sqrt(29), CLOSE);
    s.problem.score.scale = 2;
    assert_scores(&s, -6 / sqrt(29), -10 / sqrt(29), CLOSE);
}

/* A weight whose square is no float64 still has a direction. */
static void tiny_weight_is_normalized(void **state) {
    (void)state;
    const double weight[] = {3e-200, 4e-200};
    scored s;
    scored_make(&s, ATTN_SCORE_ADDITIVE);
    s.key[0] = half() - 1, s.key[1] = -2, s.key[2] = -1, s.key[3] = half() - 2;
    s.problem.score.weight = attn_tensor_f64(weight, 1, 1, 1, 2);
    s.problem.score.normalize_weight = true;
    assert_scores(&s, .6 / 2, .8 / 2, CLOSE);
}

/* Rows of the projection: q0 + k0, q1 - k1, q0 + q1 + k0 + k1 */
static void concat(void **state) {
    (void)state;
    const double projection[] = {1, 0, 1, 0, /**/ 0, 1, 0, -1, /**/ 1, 1, 1, 1};
    const double weight[] = {1, 10, 100};
    scored s;
    scored_make(&s, ATTN_SCORE_CONCAT);
    s.key[0] = half() - 1, s.key[1] = 2;  /* tanh: 1/2, 0, not looked at */
    s.key[2] = -1, s.key[3] = 2 + half(); /* tanh: 0, -1/2 */
    const double offset[] = {0, 0, 0};
    s.problem.score.offset = attn_tensor_f64(offset, 1, 1, 1, 3);
    s.problem.score.weight = attn_tensor_f64(weight, 1, 1, 1, 3);
    s.problem.score.projection = attn_tensor_f64(projection, 1, 1, 3, 4);
    /* 64 u on a sum of at most 111, whose third term is tanh of a sum */
    assert_scores(&s, .5 + 100 * tanh(half() + 4), -5 + 100 * tanh(4 + half()), 128 * CLOSE);
}

static void cosine(void **state) {
    (void)state;
    const double scales[] = {10};
    scored s;
    scored_make(&s, ATTN_SCORE_COSINE);
    s.query[0] = 3, s.query[1] = 4;
    s.key[0] = 5, s.key[1] = 12, s.key[2] = 0, s.key[3] = 0;
    assert_scores(&s, 63 / 65., 0, CLOSE);
    s.problem.score.scales = attn_tensor_f64(scales, 1, 1, 1, 1);
    assert_scores(&s, 630 / 65., 0, 10 * CLOSE);
    s.query[0] = 3e-200, s.query[1] = 4e-200;
    assert_scores(&s, 630 / 65., 0, 10 * CLOSE);
}

static void gaussian(void **state) {
    (void)state;
    scored s;
    scored_make(&s, ATTN_SCORE_GAUSSIAN);
    assert_scores(&s, -(16 + 16) / 2., -(4 + 1) / 2., EXACT);
    s.problem.score.scale = 2;
    assert_scores(&s, -64, -10, EXACT);
}

static void location_never_looks_at_keys(void **state) {
    (void)state;
    const double weight[] = {1, 2, 3, 4, 9, 9};
    scored s;
    scored_make(&s, ATTN_SCORE_LOCATION);
    for (int k = 0; k < 4; k++) s.key[k] = NAN;
    s.problem.score.weight = attn_tensor_f64(weight, 1, 1, 3, 2); /* one more row than keys */
    assert_scores(&s, 5, 11, EXACT);
}

/* One weight for all heads, or one each. */
static void parameters_per_head(void **state) {
    (void)state;
    const double ones[2] = {1, 1}, weights[] = {1, 2};
    for (int64_t heads = 1; heads <= 2; heads++) {
        double scores[2];
        const attn_views views = {.scores = attn_tensor_f64(scores, 1, 2, 1, 1)};
        const attn_problem p = {
            .query = attn_tensor_f64(ones, 1, 2, 1, 1),
            .key = attn_tensor_f64(ones, 1, 1, 1, 1),
            .value = attn_tensor_f64(ones, 1, 1, 1, 1),
            .score = {.kind = ATTN_SCORE_GENERAL,
                      .weight = attn_tensor_f64(weights, 1, heads, 1, 1)},
            .views = &views,
        };
        assert_int_equal(attn_reference_forward(&p), ATTN_OK);
        assert_true(scores[0] == 1 && scores[1] == (heads == 1 ? 1 : 2));
    }
}

/* Filters (0 1 0), which reads the key's own weight, and (1 0 0), its left neighbour's. */
static void location_aware(void **state) {
    (void)state;
    const double filters[] = {0, 1, 0, /**/ 1, 0, 0}, previous[] = {.25, .75};
    const double weight[] = {2, 4}, projection[] = {half() * 4, 0, /**/ 0, half() * 4};
    scored s;
    scored_make(&s, ATTN_SCORE_ADDITIVE);
    s.key[0] = s.key[2] = -1, s.key[1] = s.key[3] = -2; /* query + key is 0 */
    const attn_location location = {
        .previous = attn_tensor_f64(previous, 1, 1, 1, 2),
        .filters = attn_tensor_f64(filters, 1, 1, 2, 3),
        .projection = attn_tensor_f64(projection, 1, 1, 2, 2),
    };
    s.problem.score.weight = attn_tensor_f64(weight, 1, 1, 1, 2);
    s.problem.score.location = &location;
    /* key 0: features .25 and 0 (no left neighbour); key 1: .75 and .25; tanh(3 half) = 13/14 */
    assert_scores(&s, 2 * .5, 2 * 13 / 14. + 4 * .5, CLOSE);
}

/* ----------------------------------------------------------------------------- relative places */

/* The entries that a query at `position` takes for `count` keys, read off a bias of 0, 1, 2, ... */
static void find_entries(attn_relative *how, int64_t n, int64_t position, int64_t count,
                         double *entries) {
    static const double none[4096];
    double table[64];
    for (int64_t e = 0; e < n; e++) table[e] = (double)e;
    how->bias = attn_tensor_f64(table, 1, 1, 1, n);
    const attn_views views = {.scores = attn_tensor_f64(entries, 1, 1, 1, count)};
    const attn_problem p = {
        .query = attn_tensor_f64(none, 1, 1, 1, 1),
        .key = attn_tensor_f64(none, 1, 1, count, 1),
        .value = attn_tensor_f64(none, 1, 1, count, 1),
        .score = {.kind = ATTN_SCORE_CUSTOM, .relative = how},
        .mask = {.query_offset = position},
        .views = &views,
    };
    if (attn_reference_forward(&p) != ATTN_OK) fail_msg("%s", attn_error_message());
}

/* One digit an entry. */
static void assert_entries(const double *entries, const char *expected) {
    for (size_t j = 0; j < strlen(expected); j++)
        assert_int_equal((int)entries[j], expected[j] - '0');
}

static void clipped_entries(void **state) {
    (void)state;
    double entries[6];
    attn_relative how = {0};
    find_entries(&how, 5, 3, 6, entries); /* origin 2: offsets -3 .. 2 */
    assert_entries(entries, "001234");
    how.origin = 4;
    find_entries(&how, 5, 3, 6, entries); /* as a causal table: nothing ahead */
    assert_entries(entries, "123444");
    how.origin = 0;
    find_entries(&how, 4, 3, 6, entries); /* origin 2 */
    assert_entries(entries, "001233");
    find_entries(&how, 1, 3, 6, entries); /* n/2 is 0 */
    assert_entries(entries, "000000");
}

/* What Raffel et al.'s published code gives for 32 buckets and a distance of 128, where a new bucket
 * begins and before. */
static void t5_entries(void **state) {
    (void)state;
    static const int offsets[] = {-1000, -128, -127, -91, -90, -64, -63, -46, -45, -32, -31,
                                  -23,   -22,  -16,  -15, -12, -11, -8,  -7,  -1,  0,   1,
                                  7,     8,    11,   12,  16,  63,  64,  90,  91,  128, 1000};
    static const int both_ways[] = {15, 15, 15, 15, 14, 14, 13, 13, 12, 12, 11,
                                    11, 10, 10, 9,  9,  8,  8,  7,  1,  0,  17,
                                    23, 24, 24, 25, 26, 29, 30, 30, 31, 31, 31};
    static const int causal[] = {31, 31, 31, 29, 29, 26, 26, 24, 23, 21, 21, 18, 18, 16, 15, 12, 11,
                                 8,  7,  1,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0};
    double entries[2001];
    for (int one_way = 0; one_way < 2; one_way++) {
        attn_relative how = {.buckets = one_way ? ATTN_BUCKETS_T5_CAUSAL : ATTN_BUCKETS_T5};
        find_entries(&how, 32, 1000, 2001, entries);
        for (size_t k = 0; k < COUNT(offsets); k++)
            assert_int_equal((int)entries[1000 + offsets[k]], (one_way ? causal : both_ways)[k]);
    }
}

/* The smallest tables, and a distance of their own. */
static void small_t5_tables(void **state) {
    (void)state;
    double entries[9];
    attn_relative how = {.buckets = ATTN_BUCKETS_T5, .max_distance = 2};
    find_entries(&how, 4, 4, 9, entries);
    assert_entries(entries, "111103333");
    how = (attn_relative){.buckets = ATTN_BUCKETS_T5_CAUSAL, .max_distance = 8};
    find_entries(&how, 4, 8, 9,
                 entries); /* 2 + floor(log2(distance / 2)) for distances from 2 on */
    assert_entries(entries, "333332210");
}

/* Query (1, 2) at position 0, keys (5, 6) and (-1, 3) at offsets 0 and 1: entries 1 and 2. */
static void relative_terms_of_dot(void **state) {
    (void)state;
    const double keys[] = {9, 9, 1, -1, 2, 3}, queries[] = {9, 9, 0, 1, 1, 1};
    const double content[] = {10, 20}, position[] = {3, 5}, bias[] = {9, .5, .25};
    attn_relative how = {0};
    scored s;
    scored_make(&s, ATTN_SCORE_DOT);
    s.problem.score.relative = &how;
    s.problem.score.scale = 1;
    how.keys =
        attn_tensor_f64(keys, 1, 1, 3, 2); /* Shaw et al.: (1, 2) . (1, -1), (1, 2) . (2, 3) */
    assert_scores(&s, 17 - 1, 5 + 8, EXACT);
    how.queries = attn_tensor_f64(queries, 1, 1, 3, 2); /* DeBERTa: key . (0, 1), key . (1, 1) */
    assert_scores(&s, 17 - 1 + 6, 5 + 8 + 2, EXACT);
    how.queries = (attn_tensor){0};
    how.content_bias = attn_tensor_f64(content, 1, 1, 1, 2);   /* Transformer-XL: (11, 22) . key */
    how.position_bias = attn_tensor_f64(position, 1, 1, 1, 2); /* and (4, 7) . keys */
    assert_scores(&s, 55 + 132 + 4 - 7, -11 + 66 + 8 + 21, EXACT);
    s.problem.score.scale = 2;
    how.bias = attn_tensor_f64(bias, 1, 1, 1, 3); /* not scaled */
    assert_scores(&s, 2 * 184 + .5, 2 * 84 + .25, EXACT);
    assert_true(s.raw[0] == 2 * 184 && s.capped[0] == 2 * 184);
}

static void relative_values(void **state) {
    (void)state;
    const double values[] = {100, 200, 300};
    const attn_relative how = {.values = attn_tensor_f64(values, 1, 1, 3, 1)};
    small s;
    small_make(&s, 2, 2);
    s.problem.score.relative = &how;
    small_run(&s);
    assert_near(s.output[0], (1. * (1 + 200) + 2. * (2 + 300)) / 3); /* offsets 0 and 1 */
    assert_near(s.output[1], (1. * (1 + 100) + 2. * (2 + 200)) / 3); /* offsets -1 and 0 */
}

/* --------------------------------------------------------------------------- on the way to weights */

/* 2 tanh(s / 2) is 1 at log(3); bias comes after it. */
static void stages_of_a_score(void **state) {
    (void)state;
    const double bias[] = {7, -INFINITY};
    scored s;
    scored_make(&s, ATTN_SCORE_DOT);
    s.query[1] = 0, s.key[0] = log(3);
    s.problem.score.scale = 1;
    s.problem.score.softcap = 2;
    s.problem.score.bias = attn_tensor_f64(bias, 1, 1, 1, 2);
    assert_scores(&s, 8, -INFINITY, 8 * CLOSE);
    assert_true(s.raw[0] == log(3) && s.raw[1] == 0 && s.capped[1] == 0);
    assert_number(s.capped[0], 1, CLOSE);
}

/* What a callback was shown, and what it does: score[c] = 2 score[c] + position + key. */
typedef struct seen {
    attn_pairs pairs;
    double scores[MOST];
    int calls;
} seen;

static void change_scores(void *user, const attn_pairs *pairs) {
    seen *const s = user;
    s->pairs = *pairs;
    s->calls++;
    for (int c = 0; c < pairs->keys; c++) {
        const int64_t at = c * pairs->key_stride;
        if (pairs->dtype == ATTN_F64) {
            double *const x = (double *)pairs->data + at;
            s->scores[c] = *x;
            *x = 2 * *x + (double)(pairs->position + pairs->key + c);
        } else {
            float *const x = (float *)pairs->data + at;
            s->scores[c] = (double)*x;
            *x = 1 + 0x1p-20f;
        }
    }
}

static void callback_changes_scores(void **state) {
    (void)state;
    seen is = {0};
    scored s;
    scored_make(&s, ATTN_SCORE_DOT);
    s.problem.score.scale = 1;
    s.problem.score.callback = change_scores;
    s.problem.score.callback_user = &is;
    s.problem.mask.query_offset = 10;
    assert_scores(&s, 34 + 10, 10 + 11, EXACT);
    assert_true(is.calls == 1 && is.scores[0] == 17 && is.scores[1] == 5);
    assert_true(is.pairs.rows == 1 && is.pairs.keys == 2 && is.pairs.position == 10);
    assert_true(is.pairs.sequence == 0 && is.pairs.head == 0 && is.pairs.query == 0);
    assert_true(s.raw[0] == 17 && s.capped[0] == 17);
}

/* What is written to a hidden pair is ignored. */
static void callback_cannot_unmask(void **state) {
    (void)state;
    seen is = {0};
    scored s;
    scored_make(&s, ATTN_SCORE_CUSTOM);
    s.problem.score.callback = change_scores;
    s.problem.score.callback_user = &is;
    s.problem.mask.causal = true;
    assert_scores(&s, 0, -INFINITY, EXACT);
}

static void callback_works_in_the_type_of_query(void **state) {
    (void)state;
    const float one = 1;
    float score = 0;
    seen is = {0};
    const attn_views views = {.scores = attn_tensor_f32(&score, 1, 1, 1, 1)};
    const attn_problem p = {
        .query = attn_tensor_f32(&one, 1, 1, 1, 1),
        .key = attn_tensor_f32(&one, 1, 1, 1, 1),
        .value = attn_tensor_f32(&one, 1, 1, 1, 1),
        .score = {.callback = change_scores, .callback_user = &is, .scale = 1. / 3},
        .views = &views,
    };
    assert_int_equal(attn_reference_forward(&p), ATTN_OK);
    assert_true(is.pairs.dtype == ATTN_F32 && is.scores[0] == (double)(float)(1. / 3));
    assert_true(score == 1 + 0x1p-20f);
}

static void hide_even_keys(void *user, const attn_pairs *pairs) {
    (void)user;
    for (int c = 0; c < pairs->keys; c++) {
        if ((pairs->key + c) % 2 == 0) ((double *)pairs->data)[c * pairs->key_stride] = -INFINITY;
    }
}

static void callback_masks(void **state) {
    (void)state;
    small s;
    small_make(&s, 1, 4);
    s.value[0] = s.value[2] = NAN; /* not looked at */
    s.problem.mask.callback = hide_even_keys;
    small_run(&s);
    s.value[0] = s.value[2] = 0;
    assert_small_row(&s, 0, (const double[]){0, 2, 0, 4}, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(dot_and_its_default_scale),
        cmocka_unit_test(general),
        cmocka_unit_test(general_of_two_widths),
        cmocka_unit_test(additive),
        cmocka_unit_test(tiny_weight_is_normalized),
        cmocka_unit_test(concat),
        cmocka_unit_test(cosine),
        cmocka_unit_test(gaussian),
        cmocka_unit_test(location_never_looks_at_keys),
        cmocka_unit_test(parameters_per_head),
        cmocka_unit_test(location_aware),
        cmocka_unit_test(clipped_entries),
        cmocka_unit_test(t5_entries),
        cmocka_unit_test(small_t5_tables),
        cmocka_unit_test(relative_terms_of_dot),
        cmocka_unit_test(relative_values),
        cmocka_unit_test(stages_of_a_score),
        cmocka_unit_test(callback_changes_scores),
        cmocka_unit_test(callback_cannot_unmask),
        cmocka_unit_test(callback_works_in_the_type_of_query),
        cmocka_unit_test(callback_masks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
