/* test_alignment.c: links read and judged, weights folded into words, links made of weights; against
 * small cases worked out by hand. */
#include "alignment.h"
#include "files.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static io_error error;

static void parse(text_links *links, const char *text, text_links_format format) {
    format.name = "gold";
    format.line = 7;
    if (!text_links_parse(links, text, &format, &error)) fail_msg("%s", error.text);
}

/* As text_links_print writes them. */
static void expect_links(const text_links *links, const char *wanted) {
    char *text = NULL;
    size_t size = 0;
    FILE *const stream = open_memstream(&text, &size);
    assert_non_null(stream);
    text_links_print(links, stream);
    assert_int_equal(fclose(stream), 0);
    assert_string_equal(text, wanted);
    free(text);
}

static const text_links_format pharaoh = {.sources = -1, .targets = -1};
static const text_links_format hansard = {
    .base = 1, .target_first = true, .sources = 2, .targets = 4};

static void reading(void **state) {
    text_links links = {0};
    (void)state;
    parse(&links, "", pharaoh);
    expect_links(&links, "");
    parse(&links, " 2-0  0-10 0-2 2-0 ", pharaoh);
    expect_links(&links, "0-2 0-10 2-0");
    parse(&links, "4p2 3p1 2p1 4-2 1p1", hansard); /* english-french, from 1 */
    expect_links(&links, "0-0 0-1 0-2 1-3");
    assert_true(links.link[0].possible && links.link[1].possible && links.link[2].possible);
    assert_false(links.link[3].possible); /* sure and possible is sure */
    text_links_free(&links);
}

static void wrong_links(void **state) {
    static const struct {
        const char *text, *part;
    } cases[] = {
        {"1-1 2", "gold: line 7: link '2' is not two numbers: expected i-j, or ipj"},
        {"1-", "link '1-' is not"},
        {"-1-1", "link '-1-1' is not"},
        {"1-1x 2-2", "link '1-1x' is not"},
        {"1:1", "link '1:1' is not"},
        {"1-99999999999", "link '1-99999999999' is not"},
        {"0-1", "link '0-1' has a word 0: expected words counted from 1"},
        {"1-3", "link '1-3' is past the last word of the source"},
        {"5-1", "link '5-1' is past the last word of the target"},
    };
    text_links links = {0};
    text_links_format format = hansard;
    (void)state;
    format.name = "gold";
    format.line = 7;
    for (size_t i = 0; i < COUNT(cases); i++) {
        assert_false(text_links_parse(&links, cases[i].text, &format, &error));
        assert_says(error.text, cases[i].part);
    }
    text_links_free(&links);
}

/* Found 4, of which 0-0 and 1-1 are sure, 2-1 possible, 3-3 wrong; sure are 0-0, 1-1, 2-2. So
 * precision 3/4, recall 2/3, AER 1 - (2 + 3) / (4 + 3). */
static void judging(void **state) {
    text_links found = {0}, gold = {0};
    text_link_counts sum = {0};
    (void)state;
    text_link_scores scores = text_links_score(&sum);
    assert_true(scores.precision == 1 && scores.recall == 1 && scores.error == 0);
    parse(&found, "3-3 0-0 1-1 2-1", pharaoh);
    parse(&gold, "0-0 1-1 2-2 2p1 0p3", pharaoh);
    for (int times = 1; times <= 2; times++) { /* twice the same is the same */
        text_links_count(&found, &gold, &sum);
        scores = text_links_score(&sum);
        assert_int_equal(sum.found, 4 * times);
        assert_int_equal(sum.sure, 3 * times);
        assert_int_equal(sum.in_sure, 2 * times);
        assert_int_equal(sum.in_possible, 3 * times);
        assert_true(scores.precision == 3.0 / 4 && scores.recall == 2.0 / 3);
        assert_true(scores.error == 1 - 5.0 / 7);
    }
    text_links_free(&found);
    text_links_free(&gold);
}

/* Eighths, so that every sum and mean is exact. Target subwords 0 and 1 are word 0, 2 is word 1, 3 is
 * none; source subword 0 is word 0, 1 and 2 are word 1, 3 is none. Word 2 of the target has no subword. */
static void folding(void **state) {
    static const float weight[4][5] = {
        {1, 2, 3, 2, 100}, {5, 1, 0, 2, 100}, {2, 2, 2, 2, 100}, {8, 8, 8, 8, 100}};
    static const int32_t target_word[] = {0, 0, 1, -1}, source_word[] = {0, 1, 1, -1};
    static const float mean[3][2] = {{3, 3}, {2, 4}, {0, 0}}, most[3][2] = {{5, 5}, {2, 4}, {0, 0}};
    const text_weights weights = {.weight = weight[0],
                                  .stride = 5,
                                  .targets = 4,
                                  .sources = 4,
                                  .target_word = target_word,
                                  .source_word = source_word};
    float folded[3][2];
    (void)state;
    assert_true(text_weights_fold(&weights, TEXT_POOL_MEAN, 3, 2, folded[0]));
    assert_memory_equal(folded, mean, sizeof mean);
    assert_true(text_weights_fold(&weights, TEXT_POOL_MAX, 3, 2, folded[0]));
    assert_memory_equal(folded, most, sizeof most);
}

static void expect_rule(const float *forward, const float *backward, int64_t targets,
                        int64_t sources, text_rule rule, double threshold, const char *wanted) {
    const text_extraction extraction = {.forward = forward,
                                        .backward = backward,
                                        .targets = targets,
                                        .sources = sources,
                                        .rule = rule,
                                        .threshold = threshold};
    text_links links = {0};
    assert_true(text_links_extract(&links, &extraction, &error));
    expect_links(&links, wanted);
    text_links_free(&links);
}

/* Rows are targets. Largest of rows: t0 s0, t1 s1 (the first of two), t2 s1. Largest of columns:
 * s0 t0, s1 t2, s2 t1, s3 none. */
static void rules(void **state) {
    static const float w[] = {0.6f, 0.2f, 0.1f, 0, /**/
                              0.1f, 0.4f, 0.4f, 0, /**/
                              0.2f, 0.7f, 0.1f, 0};
    (void)state;
    expect_rule(w, NULL, 3, 4, TEXT_RULE_FORWARD, 0, "0-0 1-1 1-2");
    expect_rule(w, NULL, 3, 4, TEXT_RULE_FORWARD, 0.5, "0-0 1-2");
    expect_rule(w, NULL, 3, 4, TEXT_RULE_BACKWARD, 0, "0-0 1-2 2-1");
    expect_rule(w, NULL, 3, 4, TEXT_RULE_INTERSECTION, 0, "0-0 1-2");
    expect_rule(w, NULL, 3, 4, TEXT_RULE_UNION, 0, "0-0 1-1 1-2 2-1");
    expect_rule(w, NULL, 3, 4, TEXT_RULE_THRESHOLD, 0.3, "0-0 1-1 1-2 2-1");
    /* Shares of rows are the weights over 0.9, 0.9, 1; those of columns over 0.9, 1.3, 0.6: only
     * t1 s1 (0.44 and 0.31) is above 0.4 on one side alone. */
    expect_rule(w, NULL, 3, 4, TEXT_RULE_MUTUAL, 0.4, "0-0 1-2 2-1");
    expect_rule(w, NULL, 0, 4, TEXT_RULE_UNION, 0, "");
    expect_rule(w, NULL, 3, 0, TEXT_RULE_GROW, 0, "");
}

/* No weight, or none that is a number: no link. */
static void nothing(void **state) {
    static const float zeros[4] = {0}, nans[4] = {NAN, NAN, NAN, NAN};
    (void)state;
    for (int rule = 0; rule < TEXT_RULES; rule++) {
        expect_rule(zeros, NULL, 2, 2, (text_rule)rule, 0, "");
        expect_rule(nans, NULL, 2, 2, (text_rule)rule, 0, "");
    }
}

/* Pairs (target, source). Forward (0,0) (1,1) (2,1) (3,4) (4,4), backward (0,0) (1,1) (1,2) (4,3)
 * (0,4). The intersection is (0,0) and (1,1). Beside (1,1) lie (2,1), which gives target 2 its first
 * link, and (1,2), which gives source 2 its. Nothing else of the union has a neighbour. Then (3,4)
 * joins two words without a link; (4,4) does not, source 4 has one now; of the backward links (4,3)
 * does; (0,4) does not. */
static void growing(void **state) {
    float forward[5][5] = {{0}}, backward[5][5] = {{0}}; /* [target][source], [source][target] */
    forward[0][0] = forward[1][1] = forward[2][1] = forward[3][4] = forward[4][4] = 1;
    backward[0][0] = backward[1][1] = backward[2][1] = backward[3][4] = backward[4][0] = 1;
    (void)state;
    expect_rule(forward[0], backward[0], 5, 5, TEXT_RULE_INTERSECTION, 0, "0-0 1-1");
    expect_rule(forward[0], backward[0], 5, 5, TEXT_RULE_GROW, 0, "0-0 1-1 1-2 2-1 3-4 4-3");
    expect_rule(forward[0], backward[0], 5, 5, TEXT_RULE_UNION, 0,
                "0-0 1-1 1-2 2-1 3-4 4-0 4-3 4-4");
}

/* Every one of the eight neighbours of a link at (1, 1) is taken though one of its words has a link:
 * for those across a corner that link is far away, at source 5. */
static void neighbours(void **state) {
    (void)state;
    for (int dt = -1; dt <= 1; dt++) {
        for (int ds = -1; ds <= 1; ds++) {
            float forward[3][6] = {{0}}, backward[6][3] = {{0}};
            text_extraction extraction = {
                .forward = forward[0], .backward = backward[0], .targets = 3, .sources = 6};
            text_links all = {0}, grown = {0};
            if (dt == 0 && ds == 0) continue;
            forward[1][1] = backward[1][1] = 1;
            if (dt != 0 && ds != 0) forward[1 + dt][5] = backward[5][1 + dt] = 1;
            *(ds != 0 ? &backward[1 + ds][1 + dt] : &forward[1 + dt][1]) = 1;
            extraction.rule = TEXT_RULE_UNION;
            assert_true(text_links_extract(&all, &extraction, &error));
            extraction.rule = TEXT_RULE_GROW;
            assert_true(text_links_extract(&grown, &extraction, &error));
            assert_int_equal(all.count, dt != 0 && ds != 0 ? 3 : 2);
            assert_int_equal(grown.count, all.count);
            text_links_free(&all);
            text_links_free(&grown);
        }
    }
}

/* Of two models: pairs are as good as the mean of both, shares are each model's own. */
static void two_models(void **state) {
    static const float forward[] = {0.9f, 0.1f, 0.5f, 0.5f}, backward[] = {0.3f, 0.7f, 0.1f, 0.9f};
    (void)state;
    /* Means: t0 s0 0.6, t0 s1 0.1, t1 s0 0.6, t1 s1 0.7. */
    expect_rule(forward, backward, 2, 2, TEXT_RULE_THRESHOLD, 0.55, "0-0 0-1 1-1");
    expect_rule(forward, backward, 2, 2, TEXT_RULE_MUTUAL, 0.4, "0-1 1-1");
    expect_rule(forward, backward, 2, 2, TEXT_RULE_BACKWARD, 0, "0-1 1-1");
}

static void names(void **state) {
    (void)state;
    for (int i = 0; i < TEXT_RULES; i++) assert_non_null(text_rule_names[i]);
    assert_string_equal(text_rule_names[TEXT_RULE_GROW], "grow-diag-final-and");
    assert_string_equal(text_pooling_names[TEXT_POOL_MAX], "max");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reading), cmocka_unit_test(wrong_links), cmocka_unit_test(judging),
        cmocka_unit_test(folding), cmocka_unit_test(rules),       cmocka_unit_test(nothing),
        cmocka_unit_test(growing), cmocka_unit_test(neighbours),  cmocka_unit_test(two_models),
        cmocka_unit_test(names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
