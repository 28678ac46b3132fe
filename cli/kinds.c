#include "kinds.h"

const cli_score cli_scores[] = {
    {"scaled", ATTN_SCORE_DOT, 0, CLI_WEIGHT_NONE, false, false},
    {"dot", ATTN_SCORE_DOT, 1, CLI_WEIGHT_NONE, false, false},
    {"general", ATTN_SCORE_GENERAL, 0, CLI_WEIGHT_MATRIX, false, false},
    {"additive", ATTN_SCORE_ADDITIVE, 0, CLI_WEIGHT_VECTOR, false, true},
    {"concat", ATTN_SCORE_CONCAT, 0, CLI_WEIGHT_VECTOR, true, true},
    {"cosine", ATTN_SCORE_COSINE, 0, CLI_WEIGHT_NONE, false, false},
    {"gaussian", ATTN_SCORE_GAUSSIAN, 0, CLI_WEIGHT_NONE, false, false},
    {"location", ATTN_SCORE_LOCATION, 0, CLI_WEIGHT_MATRIX, false, false},
    {"relative", ATTN_SCORE_DOT, 0, CLI_WEIGHT_TABLE, false, false},
    {"custom", ATTN_SCORE_CUSTOM, 0, CLI_WEIGHT_NONE, false, false},
};
enum { SCORES = sizeof cli_scores / sizeof cli_scores[0] };

const cli_normalizer cli_normalizers[] = {
    {"softmax", ATTN_SOFTMAX, true, false},     {"softmax-one", ATTN_SOFTMAX_ONE, true, false},
    {"sigmoid", ATTN_SIGMOID, false, false},    {"sparsemax", ATTN_SPARSEMAX, false, false},
    {"entmax15", ATTN_ENTMAX, false, false}, /* alpha 1.5 is the library's default */
    {"entmax", ATTN_ENTMAX, false, true},       {"relu", ATTN_RELU, false, false},
    {"relu2", ATTN_RELU_SQUARED, false, false}, {"linear", ATTN_LINEAR, false, false},
    {"hardmax", ATTN_HARDMAX, false, false},
};
enum { NORMALIZERS = sizeof cli_normalizers / sizeof cli_normalizers[0] };

bool cli_score_name(void *field, const char *text, io_error *error) {
    return cli_word(&cli_scores[0].name, SCORES, sizeof cli_scores[0], text, field, error);
}

bool cli_normalizer_name(void *field, const char *text, io_error *error) {
    return cli_word(&cli_normalizers[0].name, NORMALIZERS, sizeof cli_normalizers[0], text, field,
                    error);
}
