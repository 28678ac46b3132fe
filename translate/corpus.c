#include "corpus.h"

#include "alignment.h"
#include "words.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* --- Pairs ---------------------------------------------------------------------------------------- */

bool translate_pairs_read(translate_pairs *pairs, const char *const *paths, int64_t count,
                          io_error *error) {
    *pairs = (translate_pairs){0};
    pairs->files = calloc((size_t)count + 1, sizeof *pairs->files);
    if (pairs->files == NULL) return io_fail(error, "out of memory");
    for (int64_t f = 0; f < count; f++) {
        if (!text_pairs_read(&pairs->files[f], paths[f], error)) {
            translate_pairs_free(pairs);
            return false;
        }
        pairs->files_count = f + 1;
        pairs->count += pairs->files[f].count;
    }
    return true;
}

void translate_pairs_free(translate_pairs *pairs) {
    for (int64_t f = 0; f < pairs->files_count; f++) text_pairs_free(&pairs->files[f]);
    free(pairs->files);
    *pairs = (translate_pairs){0};
}

bool translate_pairs_short(const translate_pairs *pairs, const char *const *paths,
                           io_error *error) {
    for (int64_t f = 0; f < pairs->files_count; f++) {
        const text_pairs *const file = &pairs->files[f];
        for (int64_t i = 0; i < file->count; i++) {
            const size_t source = strlen(file->source[i]), target = strlen(file->target[i]);
            const size_t longest = source > target ? source : target;
            if (longest <= TRANSLATE_SENTENCE_LIMIT) continue;
            return io_fail(error,
                           "%s: line %" PRId64 " has a sentence of %zu bytes: expected at most %d",
                           paths[f], file->line[i], longest, TRANSLATE_SENTENCE_LIMIT);
        }
    }
    return true;
}

/* The file of pair i, which becomes its number there. */
static const text_pairs *file_of(const translate_pairs *pairs, int64_t *i) {
    const text_pairs *file = pairs->files;
    while (*i >= file->count) *i -= (file++)->count;
    return file;
}

const char *translate_pairs_source(const translate_pairs *pairs, int64_t i) {
    const text_pairs *const file = file_of(pairs, &i);
    return file->source[i];
}

const char *translate_pairs_target(const translate_pairs *pairs, int64_t i) {
    const text_pairs *const file = file_of(pairs, &i);
    return file->target[i];
}

/* --- Subwords ------------------------------------------------------------------------------------- */

typedef struct {
    const translate_pairs *pairs;
    int64_t next;
} both_sides;

static bool next_sentence(void *context, const char **sentence, io_error *error) {
    both_sides *const at = context;
    (void)error;
    const int64_t i = at->next++;
    *sentence = NULL;
    if (i / 2 < at->pairs->count) {
        *sentence = i % 2 ? translate_pairs_target(at->pairs, i / 2)
                          : translate_pairs_source(at->pairs, i / 2);
    }
    return true;
}

bool translate_train_subwords(text_subword **subword, const translate_pairs *pairs,
                              int32_t vocabulary, io_error *error) {
    both_sides at = {.pairs = pairs};
    const text_subword_options options = {
        .vocabulary = vocabulary, .fewer = true, .kind = TEXT_UNIGRAM, .byte_fallback = true};
    void *bytes = NULL;
    size_t size = 0;
    if (!text_subword_train_on(next_sentence, &at, &options, &bytes, &size, error)) return false;
    const bool good = text_subword_from_bytes(subword, bytes, size, "the subwords", error);
    free(bytes);
    return good;
}

/* --- Tokens --------------------------------------------------------------------------------------- */

/* A side's tokens, which grow. */
typedef struct {
    int32_t *tokens;
    int64_t count, capacity;
} tokens;

static bool append(tokens *all, const text_pieces *pieces) {
    if (all->tokens == NULL || all->count + pieces->count > all->capacity) {
        const int64_t capacity = 2 * (all->count + pieces->count) + 1024;
        int32_t *const more = realloc(all->tokens, (size_t)capacity * sizeof *more);
        if (more == NULL) return false;
        all->tokens = more, all->capacity = capacity;
    }
    if (pieces->count > 0) {
        memcpy(all->tokens + all->count, pieces->id, (size_t)pieces->count * sizeof *pieces->id);
    }
    all->count += pieces->count;
    return true;
}

typedef struct {
    text_lines lines;
    text_links links;
    int32_t *source_word, *target_word; /* of the pair's pieces */
    int64_t capacity, count, room;      /* of the words; links so far, and room for them */
} guide_reader;

static bool add_link(translate_corpus *c, guide_reader *g, int64_t source, int64_t target) {
    if (g->count == g->room) {
        const int64_t room = 2 * g->room + 1024;
        attn_nn_link *const more = realloc(c->links, (size_t)room * sizeof *more);
        if (more == NULL) return false;
        c->links = more, g->room = room;
    }
    c->links[g->count++] = (attn_nn_link){(int32_t)source, (int32_t)target};
    return true;
}

static bool word_room(guide_reader *g, int64_t count) {
    if (count <= g->capacity) return true;
    int32_t *const source = realloc(g->source_word, (size_t)count * sizeof *source);
    if (source != NULL) g->source_word = source;
    int32_t *const target = realloc(g->target_word, (size_t)count * sizeof *target);
    if (target != NULL) g->target_word = target;
    if (source == NULL || target == NULL) return false;
    g->capacity = count;
    return true;
}

/* The next line's links, for the pair that has these pieces. */
static bool read_guide(translate_corpus *c, guide_reader *g, const char *const text[2],
                       const text_pieces pieces[2], io_error *error) {
    const text_read got = text_lines_next(&g->lines, error);
    if (got == TEXT_READ_FAILED) return false;
    if (got == TEXT_READ_END) {
        return io_fail(error, "%s: ends after %lld lines: expected one for each pair",
                       g->lines.name, (long long)g->lines.number);
    }
    const int64_t n = pieces[0].count, m = pieces[1].count;
    if (!word_room(g, n > m ? n : m)) return io_fail(error, "out of memory");
    const int64_t sources = text_words_of_pieces(&pieces[0], text[0], g->source_word);
    const int64_t targets = text_words_of_pieces(&pieces[1], text[1], g->target_word);
    if (sources < 0 || targets < 0) return io_fail(error, "out of memory");
    const text_links_format format = {.sources = (int32_t)sources,
                                      .targets = (int32_t)targets,
                                      .name = g->lines.name,
                                      .line = g->lines.number};
    if (!text_links_parse(&g->links, g->lines.text, &format, error)) return false;
    for (int64_t l = 0; l < g->links.count; l++) {
        for (int64_t j = 0; j < m; j++) {
            for (int64_t i = 0; i < n; i++) {
                if (g->source_word[i] == g->links.link[l].source &&
                    g->target_word[j] == g->links.link[l].target && !add_link(c, g, i, j)) {
                    return io_fail(error, "out of memory");
                }
            }
        }
    }
    return true;
}

static bool make(translate_corpus *c, const translate_pairs *pairs, const text_subword *subword,
                 guide_reader *guides, tokens sides[2], text_pieces pieces[2], io_error *error) {
    for (int64_t p = 0; p < pairs->count; p++) {
        const char *const text[2] = {translate_pairs_source(pairs, p),
                                     translate_pairs_target(pairs, p)};
        for (int side = 0; side < 2; side++) {
            if (!text_subword_encode(subword, text[side], strlen(text[side]), &pieces[side],
                                     error)) {
                return false;
            }
            if (!append(&sides[side], &pieces[side])) return io_fail(error, "out of memory");
        }
        c->source_starts[p + 1] = sides[0].count;
        c->target_starts[p + 1] = sides[1].count;
        if (guides == NULL) continue;
        if (!read_guide(c, guides, text, pieces, error)) return false;
        c->guide_starts[p + 1] = guides->count;
    }
    return true;
}

static void close_guides(guide_reader *g) {
    text_lines_close(&g->lines);
    text_links_free(&g->links);
    free(g->source_word);
    free(g->target_word);
}

bool translate_corpus_make(translate_corpus *c, const translate_pairs *pairs,
                           const text_subword *subword, const char *guides, io_error *error) {
    tokens sides[2] = {0};
    text_pieces pieces[2] = {0};
    guide_reader reader = {0};
    const size_t starts = (size_t)pairs->count + 1;
    *c = (translate_corpus){0};
    c->source_starts = calloc(starts, sizeof *c->source_starts);
    c->target_starts = calloc(starts, sizeof *c->target_starts);
    c->guide_starts = guides ? calloc(starts, sizeof *c->guide_starts) : NULL;
    bool good = c->source_starts && c->target_starts && (!guides || c->guide_starts);
    if (!good) io_describe(error, "out of memory");
    good = good && (!guides || text_lines_open(&reader.lines, guides, error)) &&
           make(c, pairs, subword, guides ? &reader : NULL, sides, pieces, error);
    close_guides(&reader);
    text_pieces_free(&pieces[0]);
    text_pieces_free(&pieces[1]);
    c->source_tokens = sides[0].tokens, c->target_tokens = sides[1].tokens;
    if (!good) {
        translate_corpus_free(c);
        return false;
    }
    c->corpus =
        (attn_nn_corpus){pairs->count,     c->source_starts, c->target_starts, c->source_tokens,
                         c->target_tokens, c->guide_starts,  c->links};
    return true;
}

/* FNV-1a, by 32 bits at a time. */
static uint64_t add_sum(uint64_t sum, const void *data, size_t bytes) {
    const unsigned char *const from = data;
    for (size_t i = 0; data != NULL && i < bytes; i += sizeof(uint32_t)) {
        uint32_t word = 0;
        memcpy(&word, from + i, sizeof word);
        sum = (sum ^ word) * 0x100000001b3u;
    }
    return sum;
}

uint64_t translate_corpus_checksum(const translate_corpus *c) {
    const size_t pairs = (size_t)c->corpus.pairs;
    const size_t starts = (pairs + 1) * sizeof *c->source_starts;
    uint64_t sum = 0xcbf29ce484222325u;
    sum = add_sum(sum, c->source_starts, starts);
    sum = add_sum(sum, c->target_starts, starts);
    sum = add_sum(sum, c->source_tokens, (size_t)c->source_starts[pairs] * sizeof(int32_t));
    sum = add_sum(sum, c->target_tokens, (size_t)c->target_starts[pairs] * sizeof(int32_t));
    if (c->guide_starts == NULL) return sum;
    sum = add_sum(sum, c->guide_starts, starts);
    return add_sum(sum, c->links, (size_t)c->guide_starts[pairs] * sizeof(attn_nn_link));
}

void translate_corpus_free(translate_corpus *c) {
    free(c->source_starts);
    free(c->target_starts);
    free(c->guide_starts);
    free(c->source_tokens);
    free(c->target_tokens);
    free(c->links);
    *c = (translate_corpus){0};
}
