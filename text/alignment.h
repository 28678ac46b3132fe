/* alignment.h: which words translate which: links, read and written, made of weights, and judged.
 *
 * A link joins a word of the source and a word of the target, both counted from 0. Lists of links
 * are sorted by source, then target, and have no link twice.
 */
#ifndef TEXT_ALIGNMENT_H
#define TEXT_ALIGNMENT_H

#include "error.h"

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

typedef struct text_link {
    int32_t source, target;
    bool possible; /* in a gold alignment: may be there, need not */
} text_link;

typedef struct text_links {
    text_link *link;
    int64_t count;
    int64_t capacity; /* private */
} text_links;

/* Frees and zeroes; fine on zeroed links. */
void text_links_free(text_links *links);

/* How links are written, and the sentences that they are between. */
typedef struct text_links_format {
    int32_t base;             /* the number of the first word: 0 (Pharaoh), 1 (the shared tasks') */
    bool target_first;        /* `target-source`, as in the Hansards' `english-french` */
    int32_t sources, targets; /* how many words there are; -1 if that is not known */
    const char *name;         /* of the file, for sentences, */
    int64_t line;             /* and the line's number */
} text_links_format;

/* Replaces links by those of a line: `i-j` sure, `ipj` possible, blanks between. A link that is
 * both is sure. Refuses anything else, and words that the sentences do not have. */
bool text_links_parse(text_links *links, const char *text, const text_links_format *format,
                      io_error *error);

/* Writes `source-target` links from 0 (Pharaoh), a blank between, no newline. */
void text_links_print(const text_links *links, FILE *stream);

/* --- From weights to links ---------------------------------------------------------------------- */

/* What a target word's weights are, of those of its subwords. */
typedef enum text_pooling { TEXT_POOL_MEAN, TEXT_POOL_MAX, TEXT_POOLINGS } text_pooling;
extern const char *const text_pooling_names[TEXT_POOLINGS]; /* "mean", "max" */

/* The weights of subwords. */
typedef struct text_weights {
    const float *weight; /* [target][source], */
    int64_t stride;      /* elements from one row to the next */
    int64_t targets, sources;
    const int32_t *target_word; /* [targets]; the word of each, -1 for none (end of sentence) */
    const int32_t *source_word; /* [sources] */
} text_weights;

/* Writes folded[target word][source word]: the sum over the source word's subwords, pooled over the
 * target word's. Words without subwords get zeros. False if there is no memory. */
bool text_weights_fold(const text_weights *weights, text_pooling pooling, int64_t target_words,
                       int64_t source_words, float *folded);

/* Forward links join each target word to the source word of its largest weight; backward links join
 * each source word to the target word of its largest weight. */
typedef enum text_rule {
    TEXT_RULE_FORWARD,
    TEXT_RULE_BACKWARD,
    TEXT_RULE_INTERSECTION, /* links that are both */
    TEXT_RULE_UNION,        /* links that are either */
    TEXT_RULE_GROW,         /* grow-diag-final-and (Koehn et al. 2005): the intersection, then
                             * neighbours out of the union that give a word its first link, then
                             * links of the union between two words that have none */
    TEXT_RULE_THRESHOLD,    /* every pair whose weight is above the threshold */
    TEXT_RULE_MUTUAL,       /* every pair with more than the threshold of its target word's weight
                             * and of its source word's: two softmaxes, as Dou and Neubig (2021)
                             * take them, if the weights are exponentials */
    TEXT_RULES
} text_rule;
extern const char *const text_rule_names[TEXT_RULES];

typedef struct text_extraction {
    const float *forward;  /* [target][source]: how a target word looks at the source */
    const float *backward; /* [source][target]: a second model, the other way; NULL: forward is
                            * read by columns */
    int64_t targets, sources;
    text_rule rule;
    double threshold; /* rules of largest weights: links whose weight is below it are not made */
} text_extraction;

/* Replaces links by those that the rule finds. Of equal weights the first counts; weights of 0 and
 * NaN make no link. */
bool text_links_extract(text_links *links, const text_extraction *extraction, io_error *error);

/* --- Judging ------------------------------------------------------------------------------------ */

/* The counts of a sentence, or sums of them. */
typedef struct text_link_counts {
    int64_t found;       /* links that were made */
    int64_t sure;        /* sure links of the gold alignment */
    int64_t in_sure;     /* of those made, the ones that are sure */
    int64_t in_possible; /* of those made, the ones that are possible or sure */
} text_link_counts;

typedef struct text_link_scores { /* 0 to 1 */
    double precision;             /* in_possible / found; 1 if nothing was found */
    double recall;                /* in_sure / sure; 1 if nothing is sure */
    double error; /* AER: 1 - (in_sure + in_possible) / (found + sure); 0 if both are nothing */
} text_link_scores;

/* sum += the counts of a sentence. */
void text_links_count(const text_links *found, const text_links *gold, text_link_counts *sum);

/* The alignment error rate of Och and Ney (2003), and what it is made of. */
text_link_scores text_links_score(const text_link_counts *counts);

#endif
