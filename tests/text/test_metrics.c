/* test_metrics.c: BLEU, chrF and ROUGE. What is expected was printed, by repr, by sacreBLEU 2.5.1
 * (metrics.BLEU() and metrics.CHRF(), Python 3.11) and rouge_score 0.1.2 for the same sentences. */
#include "bleu.h"
#include "bootstrap.h"
#include "chrf.h"
#include "files.h"
#include "rouge.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* A score is at most 100 and made by fewer than 30 operations that each round to 2^-53 of what they
 * give; logarithms of percentages are below 5 and may, as exponents, count that much more. So two
 * libraries that do the same differ by less than 100 * (30 + 4 * 5) * 2^-53. */
static const double bound = 100 * 50 * 0x1p-53;

static void close_to(double value, double wanted) {
    if (!(fabs(value - wanted) <= bound)) fail_msg("%.17g: expected %.17g", value, wanted);
}

static const char *const hypotheses[] = {
    "The cat sat on the mat , and it purred.",
    "He paid 1,234.50 dollars -- or 7-8 euros?",
    "",
    "It's 5 o'clock; «très tard», she said.",
    "Nothing in common here",
};
static const char *const references[] = {
    "The cat sat on the mat, and purred.",
    "He paid 1,234.50 dollars, or 7-8 euros.",
    "An empty one.",
    "It is 5 o'clock; «très tard», he said.",
    "Quite another sentence",
};

/* Sentences by bits: bit i is sentence i. */
static const struct {
    unsigned sentences;
    double bleu, brevity, chrf;
    int64_t correct[4], total[4], lengths[2];
} corpora[] = {
    {0x1f,
     54.24629806272456,
     0.9200444146293233,
     68.42006656524686,
     {27, 21, 15, 11},
     {36, 32, 28, 24},
     {36, 39}},
    {0x01, 74.19446627365011, 1.0, 88.31628560242439, {10, 8, 6, 5}, {11, 10, 9, 8}, {11, 10}},
    {0x02, 58.77283725105324, 1.0, 84.33183212964853, {9, 7, 5, 3}, {11, 10, 9, 8}, {11, 11}},
    {0x04, 0.0, 0.0, 0.0, {0}, {0}, {0, 4}},
    {0x08,
     52.61002868050688,
     0.9048374180359595,
     81.33263600049874,
     {8, 6, 4, 3},
     {10, 9, 8, 7},
     {10, 11}},
    {0x10, 0.0, 1.0, 15.564552420029749, {0}, {4, 3, 2, 1}, {4, 3}},
    {0x14, 0.0, 0.4723665527410147, 10.8531515323392, {0}, {4, 3, 2, 1}, {4, 7}},
    {0x0a,
     55.80043052601476,
     0.9534969548334766,
     82.88553805672392,
     {17, 13, 9, 6},
     {21, 19, 17, 15},
     {21, 22}},
};

static void corpus_scores(void **state) {
    (void)state;
    for (size_t i = 0; i < COUNT(corpora); i++) {
        text_bleu_counts bleu = {0}, bleu_one;
        text_chrf_counts chrf = {0}, chrf_one;
        for (size_t k = 0; k < COUNT(hypotheses); k++) {
            if (!(corpora[i].sentences >> k & 1)) continue;
            assert_true(text_bleu_count(hypotheses[k], references[k], &bleu_one));
            assert_true(text_chrf_count(hypotheses[k], references[k], &chrf_one));
            text_bleu_add(&bleu, &bleu_one);
            text_chrf_add(&chrf, &chrf_one);
        }
        assert_memory_equal(bleu.correct, corpora[i].correct, sizeof bleu.correct);
        assert_memory_equal(bleu.total, corpora[i].total, sizeof bleu.total);
        assert_int_equal(bleu.hypothesis, corpora[i].lengths[0]);
        assert_int_equal(bleu.reference, corpora[i].lengths[1]);
        close_to(text_bleu_score(&bleu).score, corpora[i].bleu);
        close_to(text_bleu_score(&bleu).brevity, corpora[i].brevity);
        close_to(text_chrf_score(&chrf), corpora[i].chrf);
    }
}

/* Where a reference is too short for an order, its hypothesis' n-grams do not count. */
static void short_references(void **state) {
    text_chrf_counts sum, one;
    (void)state;
    assert_true(text_chrf_count("abcdefgh", "ab", &sum));
    assert_true(text_chrf_count("The cat", "The cat sat", &one));
    text_chrf_add(&sum, &one);
    close_to(text_chrf_score(&sum), 56.2629466611874);
}

/* No 3-gram is correct, nor a 4-gram: they count as a half and a quarter. */
static void smoothing(void **state) {
    static const double precisions[] = {57.142857142857146, 16.666666666666668, 10.0, 6.25};
    text_bleu_counts counts;
    (void)state;
    assert_true(
        text_bleu_count("The dog sat on a mat here", "The cat sat on the mat now", &counts));
    const text_bleu bleu = text_bleu_score(&counts);
    close_to(bleu.score, 15.619699684601283);
    for (size_t n = 0; n < COUNT(precisions); n++) close_to(bleu.precisions[n], precisions[n]);
    /* Without a token for the third order there is no score. */
    assert_true(text_bleu_count("a b", "a b c", &counts));
    close_to(text_bleu_score(&counts).score, 0);
}

static void tokenizer_13a(void **state) {
    static const struct {
        const char *text, *tokens;
    } cases[] = {
        {"Hello, world!", "Hello , world !"},
        {"1,234.50 and 3.14.", "1,234.50 and 3.14 ."},
        {"a..b,,c", "a . . b , , c"},
        {"7-8 -9 x-y", "7 - 8 -9 x-y"},
        {"&quot;A&amp;lt;&quot; &amp;quot;", "\" A < \" & quot ;"},
        {"don't (stop) [now]/{ever}", "don't ( stop ) [ now ] / { ever }"},
        {"café, 漢字. 。", "café , 漢字 . 。"},
        {"new-\nline\nend <skipped>x", "newline end x"},
        {" \xc2\xa0 wide\xe3\x80\x80space \xe2\x80\xa8", "wide space"},
        {"5. 6 .5 5.", "5 . 6 . 5 5 ."},
        {"$3.50/kg@~50%", "$ 3.50 / kg @ ~ 50 %"},
        {"", ""},
    };
    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        char *const tokens = text_tokenize_13a(cases[i].text);
        assert_string_equal(tokens, cases[i].tokens);
        free(tokens);
    }
}

static void rouge(void **state) {
    static const struct {
        const char *hypothesis, *reference;
        text_rouge wanted[TEXT_ROUGE_KINDS];
    } cases[] = {
        {"The quick brown fox jumps over the lazy dog",
         "A quick brown dog jumped over the lazy fox",
         {{0.7777777777777778, 0.7777777777777778, 0.7777777777777778},
          {0.375, 0.375, 0.375},
          {0.5555555555555556, 0.5555555555555556, 0.5555555555555556}}},
        {"tool to draw graphs, graphs, graphs",
         "Draw graphs: a tool",
         {{0.5, 0.75, 0.6}, {0.2, 0.3333333333333333, 0.25}, {0.3333333333333333, 0.5, 0.4}}},
        {"", "some", {{0, 0, 0}}},
        {"café \xc4\xb0K \xe2\x84\xaa"
         "2", /* I with a dot, kelvin sign */
         "cafe i k k2 caf i",
         {{1.0, 0.6666666666666666, 0.8}, {1.0, 0.6, 0.7499999999999999}, {0.75, 0.5, 0.6}}},
        {"one", "two", {{0, 0, 0}}},
    };
    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        text_rouge scores[TEXT_ROUGE_KINDS];
        assert_true(text_rouge_score(cases[i].hypothesis, cases[i].reference, scores));
        for (int k = 0; k < TEXT_ROUGE_KINDS; k++) {
            close_to(scores[k].precision, cases[i].wanted[k].precision);
            close_to(scores[k].recall, cases[i].wanted[k].recall);
            close_to(scores[k].f, cases[i].wanted[k].f);
        }
    }
}

static double mean(const void *context, const int64_t *row, int64_t count) {
    const double *const values = context;
    double sum = 0;
    for (int64_t i = 0; i < count; i++) sum += values[row[i]];
    return sum / (double)count;
}

/* The mean of n fair coins has a deviation of sqrt(p (1 - p) / n); for n = 10000 and p = 1/2 the
 * interval is 0.5 -+ 1.96 * 0.005 = 0.5 -+ 0.0098. Its ends, 40-quantiles of 2000 draws, have a
 * deviation of sqrt(0.025 * 0.975 / 2000) / (0.0584 / 0.005) = 0.0003 (0.0584 is the normal density
 * there), so 0.002 is more than six of them. */
static void bootstrap(void **state) {
    enum { COINS = 10000 };
    double *const coins = malloc(COINS * sizeof *coins);
    text_interval interval, again, other;
    (void)state;
    assert_non_null(coins);
    for (int i = 0; i < COINS; i++) coins[i] = i % 2;
    assert_true(text_bootstrap(mean, coins, COINS, 2000, 1, &interval));
    assert_true(text_bootstrap(mean, coins, COINS, 2000, 1, &again));
    assert_true(text_bootstrap(mean, coins, COINS, 2000, 2, &other));
    assert_true(interval.score == 0.5);
    assert_true(fabs(interval.low - 0.4902) < 0.002 && fabs(interval.high - 0.5098) < 0.002);
    assert_true(interval.low == again.low && interval.high == again.high);
    assert_true(interval.low != other.low || interval.high != other.high);
    assert_true(text_bootstrap(mean, coins, 1, 10, 1, &interval));
    assert_true(interval.low == 0 && interval.high == 0);
    free(coins);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(corpus_scores), cmocka_unit_test(short_references),
        cmocka_unit_test(smoothing),     cmocka_unit_test(tokenizer_13a),
        cmocka_unit_test(rouge),         cmocka_unit_test(bootstrap),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
