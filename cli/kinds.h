/* kinds.h: the scores and normalizers by the names that options have for them. */
#ifndef CLI_KINDS_H
#define CLI_KINDS_H

#include "options.h"

/* What --score-weight is to a score. */
typedef enum cli_weight {
    CLI_WEIGHT_NONE,
    CLI_WEIGHT_VECTOR, /* of a hidden layer */
    CLI_WEIGHT_MATRIX,
    CLI_WEIGHT_TABLE /* of keys by their offset: attn_relative.keys */
} cli_weight;

typedef struct cli_score {
    const char *name;
    attn_score_kind kind;
    double scale; /* 0: the library's default */
    cli_weight weight;
    bool projection; /* needs one */
    bool hidden;     /* has a hidden layer: takes a bias, a normalised weight, a location */
} cli_score;

typedef struct cli_normalizer {
    const char *name;
    attn_normalizer_kind kind;
    bool lse, alpha;
} cli_normalizer;

/* Settings hold indices of these; a zeroed one means the default. */
extern const cli_score cli_scores[];
extern const cli_normalizer cli_normalizers[];

cli_parser cli_score_name;      /* int */
cli_parser cli_normalizer_name; /* int */

#endif
