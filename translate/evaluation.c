#include "evaluation.h"

#include "batches.h"

#include <stdlib.h>

bool evaluation_open(evaluation *e, int64_t count, io_error *error) {
    *e = (evaluation){.count = count};
    e->bleu = calloc((size_t)count + 1, sizeof *e->bleu);
    e->chrf = calloc((size_t)count + 1, sizeof *e->chrf);
    if (e->bleu && e->chrf) return true;
    evaluation_free(e);
    return io_fail(error, "out of memory");
}

void evaluation_free(evaluation *e) {
    free(e->bleu);
    free(e->chrf);
    *e = (evaluation){0};
}

bool evaluation_count(evaluation *e, int64_t i, const char *hypothesis, const char *reference,
                      io_error *error) {
    if (text_bleu_count(hypothesis, reference, &e->bleu[i]) &&
        text_chrf_count(hypothesis, reference, &e->chrf[i])) {
        return true;
    }
    return io_fail(error, "out of memory");
}

double evaluation_bleu(const void *context, const int64_t *row, int64_t count) {
    const evaluation *const e = context;
    text_bleu_counts sum = {0};
    for (int64_t i = 0; i < count; i++) text_bleu_add(&sum, &e->bleu[row ? row[i] : i]);
    return text_bleu_score(&sum).score;
}

double evaluation_chrf(const void *context, const int64_t *row, int64_t count) {
    const evaluation *const e = context;
    text_chrf_counts sum = {0};
    for (int64_t i = 0; i < count; i++) text_chrf_add(&sum, &e->chrf[row ? row[i] : i]);
    return text_chrf_score(&sum);
}

/* --- Loss ----------------------------------------------------------------------------------------- */

typedef struct {
    const translator *translator;
    attn_nn_loss *sum;
} losses;

static bool add_batch(void *user, attn_nn_pass *pass, const attn_nn_batch *batch,
                      const int64_t *places, io_error *error) {
    const losses *const l = user;
    const attn_nn_objective objective = {.scale = 1};
    attn_nn_loss loss = {0};
    (void)places, (void)error;
    attn_nn_model_loss(l->translator->file.model, pass, batch, &objective, &loss);
    l->sum->sum += loss.sum, l->sum->likelihood += loss.likelihood, l->sum->rows += loss.rows;
    return true;
}

bool evaluation_loss(const translator *t, const translate_pairs *pairs, int threads,
                     attn_nn_loss *loss, io_error *error) {
    translate_corpus corpus;
    losses l = {.translator = t, .sum = loss};
    *loss = (attn_nn_loss){0};
    if (!translate_corpus_make(&corpus, pairs, t->subword, NULL, error)) return false;
    const bool good = translate_each_batch(t, NULL, &corpus.corpus, threads, add_batch, &l, error);
    translate_corpus_free(&corpus);
    return good;
}
