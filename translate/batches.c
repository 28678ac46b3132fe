#include "batches.h"

static bool walk(attn_nn_batches *batches, attn_nn_pass *pass, translate_batch *each, void *user,
                 io_error *error) {
    const int64_t count = attn_nn_batches_count(batches, 0);
    for (int64_t i = 0; i < count; i++) {
        attn_nn_batch batch;
        const int64_t *places = NULL;
        if (attn_nn_batches_get(batches, 0, i, 0, &batch, &places) != ATTN_OK) {
            return io_fail(error, "%s", attn_nn_error_message());
        }
        const size_t mark = attn_nn_mark(pass);
        const bool good = each(user, pass, &batch, places, error);
        attn_nn_release(pass, mark);
        if (pass->status != ATTN_OK) return io_fail(error, "%s", attn_nn_error_message());
        if (!good) return false;
    }
    return true;
}

bool translate_each_batch(const translator *t, const attn_nn_real *values,
                          const attn_nn_corpus *corpus, int threads, translate_batch *each,
                          void *user, io_error *error) {
    const text_subword_specials ids = text_subword_special_ids(t->subword);
    const attn_nn_batches_options options = {.in_order = true, .begin = ids.bos, .end = ids.eos};
    const attn_context_options context_options = {.threads = threads};
    attn_nn_batches *batches = NULL;
    attn_context *context = NULL;
    attn_nn_arena *const arena = attn_nn_arena_create();
    bool good = (arena && attn_context_create(&context, &context_options) == ATTN_OK) ||
                io_fail(error, "out of memory");
    good = good && (attn_nn_batches_open(corpus, &options, &batches) == ATTN_OK ||
                    io_fail(error, "%s", attn_nn_error_message()));
    attn_nn_pass pass = {
        .values = values ? values : t->file.values, .arena = arena, .context = context};
    good = good && walk(batches, &pass, each, user, error);
    attn_nn_batches_close(batches);
    attn_context_destroy(context);
    attn_nn_arena_destroy(arena);
    return good;
}
