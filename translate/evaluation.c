#include "evaluation.h"

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

double evaluation_bleu(const evaluation *e) {
    text_bleu_counts sum = {0};
    for (int64_t i = 0; i < e->count; i++) text_bleu_add(&sum, &e->bleu[i]);
    return text_bleu_score(&sum).score;
}

double evaluation_chrf(const evaluation *e) {
    text_chrf_counts sum = {0};
    for (int64_t i = 0; i < e->count; i++) text_chrf_add(&sum, &e->chrf[i]);
    return text_chrf_score(&sum);
}

/* --- Loss ----------------------------------------------------------------------------------------- */

static bool add_batch(const translator *t, attn_nn_pass *pass, attn_nn_batches *batches,
                      int64_t index, attn_nn_loss *sum, io_error *error) {
    const attn_nn_objective objective = {.scale = 1};
    attn_nn_batch batch;
    attn_nn_loss loss = {0};
    if (attn_nn_batches_get(batches, 0, index, 0, &batch, NULL) == ATTN_OK) {
        const size_t mark = attn_nn_mark(pass);
        attn_nn_model_loss(t->file.model, pass, &batch, &objective, &loss);
        attn_nn_release(pass, mark);
        if (pass->status == ATTN_OK) {
            sum->sum += loss.sum, sum->likelihood += loss.likelihood, sum->rows += loss.rows;
            return true;
        }
    }
    return io_fail(error, "%s", attn_nn_error_message());
}

bool evaluation_loss(const translator *t, const translate_pairs *pairs, int threads,
                     attn_nn_loss *loss, io_error *error) {
    const text_subword_specials ids = text_subword_special_ids(t->subword);
    const attn_nn_batches_options options = {.in_order = true, .begin = ids.bos, .end = ids.eos};
    const attn_context_options all = {.threads = threads};
    translate_corpus corpus;
    attn_nn_batches *batches = NULL;
    attn_context *context = NULL;
    *loss = (attn_nn_loss){0};
    if (!translate_corpus_make(&corpus, pairs, t->subword, NULL, error)) return false;
    attn_nn_arena *const arena = attn_nn_arena_create();
    bool good = arena && attn_context_create(&context, &all) == ATTN_OK &&
                attn_nn_batches_open(&corpus.corpus, &options, &batches) == ATTN_OK;
    if (!good) io_describe(error, "out of memory");
    attn_nn_pass pass = {.values = t->file.values, .arena = arena, .context = context};
    const int64_t count = good ? attn_nn_batches_count(batches, 0) : 0;
    for (int64_t i = 0; good && i < count; i++) {
        good = add_batch(t, &pass, batches, i, loss, error);
    }
    attn_nn_batches_close(batches);
    attn_context_destroy(context);
    attn_nn_arena_destroy(arena);
    translate_corpus_free(&corpus);
    return good;
}
