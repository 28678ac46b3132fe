/* batches.c: a corpus, cut into batches: shuffled, about equally long, about equally large. */
#include "nn.h"
#include "noise.h"

#include <stdio.h>
#include <stdlib.h>

/* A pair that takes part, and the rows that it will have. */
typedef struct item {
    int64_t pair, source, target;
} item;

/* A shard's batch: everything lies in one piece of memory. */
typedef struct shard {
    void *memory;
    size_t size;
} shard;

struct attn_nn_batches {
    attn_nn_corpus corpus;
    attn_nn_batches_options options;
    int64_t kept;
    int64_t epoch;   /* whose plan the following are; -1: none yet */
    item *items;     /* [kept], batch after batch */
    int64_t *starts; /* [kept + 1]: where each batch begins in items, before batches are shuffled */
    int64_t *turns;  /* [kept]: which batch comes when */
    int64_t count;   /* batches */
    int64_t *costs;  /* [shards], of attn_nn_batches_get */
    int64_t *dealt;  /* [kept]: pairs, of the same */
    shard *shards;   /* [shards] */
};

static int64_t length_of(const int64_t *starts, int64_t i) {
    return starts[i + 1] - starts[i];
}

/* --- Checks --------------------------------------------------------------------------------------- */

static attn_status refuse(const char *field, const char *expected) {
    char sentence[256];
    (void)snprintf(sentence, sizeof sentence, "batches: %s: expected %s", field, expected);
    return attn_nn_error(ATTN_ERROR_VALUE, sentence);
}

static bool rises_from_0(const int64_t *starts, int64_t count) {
    bool rises = starts[0] == 0;
    for (int64_t i = 0; rises && i < count; i++) rises = starts[i] <= starts[i + 1];
    return rises;
}

static bool links_fit(const attn_nn_corpus *c) {
    for (int64_t p = 0; p < c->pairs; p++) {
        for (int64_t k = c->guide_starts[p]; k < c->guide_starts[p + 1]; k++) {
            const attn_nn_link link = c->guide_links[k];
            if (link.source < 0 || link.source >= length_of(c->source_starts, p)) return false;
            if (link.target < 0 || link.target >= length_of(c->target_starts, p)) return false;
        }
    }
    return true;
}

static attn_status check_corpus(const attn_nn_corpus *c) {
    if (c->pairs < 0) return refuse("corpus.pairs", "0 or more");
    if (c->source_starts == NULL || c->target_starts == NULL || c->source_tokens == NULL ||
        c->target_tokens == NULL) {
        return attn_nn_error(ATTN_ERROR_NULL, "batches: an array of the corpus is NULL");
    }
    if (!rises_from_0(c->source_starts, c->pairs)) {
        return refuse("corpus.source_starts", "numbers that rise from 0");
    }
    if (!rises_from_0(c->target_starts, c->pairs)) {
        return refuse("corpus.target_starts", "numbers that rise from 0");
    }
    if (c->guide_starts == NULL) return ATTN_OK;
    if (!rises_from_0(c->guide_starts, c->pairs)) {
        return refuse("corpus.guide_starts", "numbers that rise from 0");
    }
    if (c->guide_links == NULL && c->guide_starts[c->pairs] > 0) {
        return attn_nn_error(ATTN_ERROR_NULL, "batches: corpus.guide_links is NULL");
    }
    return links_fit(c) ? ATTN_OK
                        : refuse("corpus.guide_links", "places within the pair's sentences");
}

/* So that sums of rows, and their products with a number of batches, fit 64 bits. */
enum { TOKENS_LIMIT = 1 << 30, SHARDS_LIMIT = 4096 };

static attn_status check_options(attn_nn_batches_options *o) {
    if (o->tokens == 0) o->tokens = 4096;
    if (o->shards == 0) o->shards = 1;
    if (o->pool == 0) o->pool = 64;
    if (o->tokens < 1 || o->tokens > TOKENS_LIMIT) return refuse("tokens", "1 to 1073741824");
    if (o->shards < 1 || o->shards > SHARDS_LIMIT) return refuse("shards", "1 to 4096");
    if (o->pool < 1 || o->pool > TOKENS_LIMIT) return refuse("pool", "1 to 1073741824");
    if (o->max_length < 0) return refuse("max_length", "0 or more");
    if (o->begin < 0 || o->end < 0) return refuse("begin and end", "tokens, 0 or more");
    return ATTN_OK;
}

/* --- An epoch's plan ------------------------------------------------------------------------------ */

/* Within 0 and bound - 1, evenly up to bound/2^64; bound < 2^31. */
static int64_t draw(uint64_t stream, int64_t place, int64_t bound) {
    const attn_nn_noise n = attn_nn_noise_at(stream, (uint64_t)place);
    return (int64_t)((n.a * (uint64_t)bound + (n.b * (uint64_t)bound >> 32)) >> 32);
}

/* Longest targets first, then longest sources; never equal, so that any sort agrees. */
static int longer(const void *a_, const void *b_) {
    const item *const a = a_, *const b = b_;
    if (a->target != b->target) return a->target > b->target ? -1 : 1;
    if (a->source != b->source) return a->source > b->source ? -1 : 1;
    return a->pair < b->pair ? -1 : 1;
}

static void list_items(attn_nn_batches *b) {
    const attn_nn_corpus *const c = &b->corpus;
    const int64_t most = b->options.max_length ? b->options.max_length : INT64_MAX;
    int64_t kept = 0;
    for (int64_t p = 0; p < c->pairs; p++) {
        const int64_t source = length_of(c->source_starts, p);
        const int64_t target = length_of(c->target_starts, p);
        if (source > most || target > most) continue;
        b->items[kept++] = (item){p, source + 1, target + 1};
    }
    b->kept = kept;
}

/* Fisher and Yates, as Durstenfeld (1964) has it. */
static void shuffle_items(attn_nn_batches *b, uint64_t stream) {
    for (int64_t i = b->kept - 1; i > 0; i--) {
        const int64_t j = draw(stream, i, i + 1);
        const item kept = b->items[i];
        b->items[i] = b->items[j];
        b->items[j] = kept;
    }
}

static void shuffle_turns(attn_nn_batches *b, uint64_t stream) {
    for (int64_t i = b->count - 1; i > 0; i--) {
        const int64_t j = draw(stream, i, i + 1);
        const int64_t kept = b->turns[i];
        b->turns[i] = b->turns[j];
        b->turns[j] = kept;
    }
}

/* Cuts a pool of items first .. last-1, of `rows` in all, into k = rows/tokens batches, rounded up: an
 * item belongs to batch floor(k * rows before it / rows). So a batch's items but the last have fewer
 * than rows/k <= tokens rows. A batch that one item fills, and more, leaves others without any; those
 * do not come to be. */
static void cut_pool(attn_nn_batches *b, int64_t first, int64_t last, int64_t rows) {
    const int64_t k = (rows + b->options.tokens - 1) / b->options.tokens;
    qsort(b->items + first, (size_t)(last - first), sizeof *b->items, longer);
    int64_t batch = 0, latest = -1, over = 0; /* k * rows before = batch * rows + over */
    for (int64_t i = first; i < last; i++) {
        if (batch != latest) b->starts[b->count++] = i;
        latest = batch;
        over += (b->items[i].source + b->items[i].target) * k;
        batch += over / rows, over %= rows;
    }
}

static void cut(attn_nn_batches *b) {
    const int64_t full = b->options.in_order ? INT64_MAX : b->options.tokens * b->options.pool;
    b->count = 0;
    int64_t first = 0, rows = 0;
    for (int64_t i = 0; i < b->kept; i++) {
        rows += b->items[i].source + b->items[i].target;
        if (rows < full && i + 1 < b->kept) continue;
        cut_pool(b, first, i + 1, rows);
        first = i + 1, rows = 0;
    }
    b->starts[b->count] = b->kept;
    for (int64_t i = 0; i < b->count; i++) b->turns[i] = i;
}

static void plan(attn_nn_batches *b, int64_t epoch) {
    if (b->epoch == epoch) return;
    list_items(b);
    const uint64_t seed = attn_nn_stream(b->options.seed, (uint64_t)epoch);
    if (!b->options.in_order) shuffle_items(b, attn_nn_stream(seed, 0));
    cut(b);
    if (!b->options.in_order) shuffle_turns(b, attn_nn_stream(seed, 1));
    b->epoch = epoch;
}

/* --- The interface -------------------------------------------------------------------------------- */

void attn_nn_batches_close(attn_nn_batches *b) {
    if (b == NULL) return;
    for (int64_t s = 0; b->shards != NULL && s < b->options.shards; s++) free(b->shards[s].memory);
    free(b->items);
    free(b->starts);
    free(b->turns);
    free(b->costs);
    free(b->dealt);
    free(b->shards);
    free(b);
}

attn_status attn_nn_batches_open(const attn_nn_corpus *corpus,
                                 const attn_nn_batches_options *options,
                                 attn_nn_batches **batches) {
    if (batches != NULL) *batches = NULL;
    if (corpus == NULL || options == NULL || batches == NULL) {
        return attn_nn_error(ATTN_ERROR_NULL, "batches: corpus, options or batches is NULL");
    }
    attn_nn_batches_options filled = *options;
    attn_status status = check_options(&filled);
    if (status == ATTN_OK) status = check_corpus(corpus);
    if (status != ATTN_OK) return status;
    if (corpus->pairs > INT32_MAX) return refuse("corpus.pairs", "less than 2^31");
    attn_nn_batches *const b = calloc(1, sizeof *b);
    if (b == NULL) return attn_nn_error(ATTN_ERROR_MEMORY, "out of memory");
    const size_t pairs = (size_t)corpus->pairs + 1, shards = (size_t)filled.shards;
    b->corpus = *corpus, b->options = filled, b->epoch = -1;
    b->items = calloc(pairs, sizeof *b->items);
    b->starts = calloc(pairs, sizeof *b->starts);
    b->turns = calloc(pairs, sizeof *b->turns);
    b->costs = calloc(shards, sizeof *b->costs);
    b->dealt = calloc(pairs, sizeof *b->dealt);
    b->shards = calloc(shards, sizeof *b->shards);
    if (!b->items || !b->starts || !b->turns || !b->costs || !b->dealt || !b->shards) {
        attn_nn_batches_close(b);
        return attn_nn_error(ATTN_ERROR_MEMORY, "out of memory");
    }
    list_items(b);
    *batches = b;
    return ATTN_OK;
}

int64_t attn_nn_batches_pairs(const attn_nn_batches *b) {
    return b->kept;
}

int64_t attn_nn_batches_shards(const attn_nn_batches *b) {
    return b->options.shards;
}

int64_t attn_nn_batches_count(attn_nn_batches *b, int64_t epoch) {
    plan(b, epoch);
    return b->count;
}

void attn_nn_batches_next(attn_nn_batches *b, int64_t *epoch, int64_t *index) {
    if (++*index < attn_nn_batches_count(b, *epoch)) return;
    ++*epoch;
    *index = 0;
}

/* --- A shard -------------------------------------------------------------------------------------- */

/* What a shard will hold. */
typedef struct extent {
    int64_t pairs, source, target, links;
} extent;

/* The arrays of a shard, in its memory. */
typedef struct pieces {
    int64_t *pairs, *source_starts, *target_starts, *guide_starts;
    int32_t *source, *target, *labels, *guide_keys;
} pieces;

/* Lists this shard's pairs among items first .. last-1 of a batch, in b->dealt, and counts them.
 * Each item, longest first, goes to the shard that has the fewest rows so far, the lowest among equals
 * (Graham 1969): no shard has more rows than another by more than a pair's. */
static extent deal(attn_nn_batches *b, int64_t first, int64_t last, int64_t which) {
    const attn_nn_corpus *const c = &b->corpus;
    const int64_t shards = b->options.shards;
    extent e = {0, 0, 0, 0};
    memset(b->costs, 0, (size_t)shards * sizeof *b->costs);
    for (int64_t i = first; i < last; i++) {
        const item it = b->items[i];
        int64_t least = 0;
        for (int64_t s = 1; s < shards; s++) {
            if (b->costs[s] < b->costs[least]) least = s;
        }
        b->costs[least] += it.source + it.target;
        if (least != which) continue;
        b->dealt[e.pairs++] = it.pair;
        e.source += it.source, e.target += it.target;
        if (c->guide_starts != NULL) e.links += length_of(c->guide_starts, it.pair);
    }
    return e;
}

static bool lay_out(shard *s, extent e, pieces *p) {
    const int64_t wide = e.pairs + 2 * (e.pairs + 1) + e.target + 1;
    const int64_t narrow = e.source + 2 * e.target + e.links;
    const size_t size = (size_t)wide * sizeof(int64_t) + (size_t)narrow * sizeof(int32_t);
    if (size > s->size) {
        free(s->memory);
        s->size = 0;
        s->memory = malloc(size);
        if (s->memory == NULL) return false;
        s->size = size;
    }
    p->pairs = s->memory;
    p->source_starts = p->pairs + e.pairs;
    p->target_starts = p->source_starts + e.pairs + 1;
    p->guide_starts = p->target_starts + e.pairs + 1;
    p->source = (int32_t *)(p->guide_starts + e.target + 1);
    p->target = p->source + e.source;
    p->labels = p->target + e.target;
    p->guide_keys = p->labels + e.target;
    return true;
}

static void copy(int32_t *to, const int32_t *from, int64_t count) {
    if (count > 0) memcpy(to, from, (size_t)count * sizeof *to);
}

static void fill_tokens(const attn_nn_batches *b, const pieces *p, int64_t count) {
    const attn_nn_corpus *const c = &b->corpus;
    int64_t source = 0, target = 0;
    for (int64_t i = 0; i < count; i++) {
        const int64_t pair = p->pairs[i];
        const int64_t source_length = length_of(c->source_starts, pair);
        const int64_t target_length = length_of(c->target_starts, pair);
        const int32_t *const said = c->target_tokens + c->target_starts[pair];
        p->source_starts[i] = source, p->target_starts[i] = target;
        copy(p->source + source, c->source_tokens + c->source_starts[pair], source_length);
        p->source[source + source_length] = b->options.end;
        p->target[target] = b->options.begin;
        copy(p->target + target + 1, said, target_length);
        copy(p->labels + target, said, target_length);
        p->labels[target + target_length] = b->options.end;
        source += source_length + 1, target += target_length + 1;
    }
    p->source_starts[count] = source, p->target_starts[count] = target;
}

/* The links of word j guide row j, which says it next; a counting sort. The end has none. */
static void fill_guide(const attn_nn_corpus *c, const pieces *p, int64_t count) {
    int64_t *const starts = p->guide_starts; /* of row r, while it counts: at r + 1 */
    int64_t sum = 0;
    memset(starts, 0, (size_t)(p->target_starts[count] + 1) * sizeof *starts);
    for (int64_t i = 0; i < count; i++) {
        const int64_t first = c->guide_starts[p->pairs[i]], last = c->guide_starts[p->pairs[i] + 1];
        const int64_t row = p->target_starts[i], rows = length_of(p->target_starts, i);
        for (int64_t k = first; k < last; k++) starts[row + c->guide_links[k].target + 1]++;
        for (int64_t r = row + 1; r <= row + rows; r++) {
            const int64_t of_row = starts[r];
            starts[r] = sum; /* where row r - 1 begins, for now */
            sum += of_row;
        }
        for (int64_t k = first; k < last; k++) {
            const attn_nn_link link = c->guide_links[k];
            p->guide_keys[starts[row + link.target + 1]++] = link.source;
        }
    }
}

attn_status attn_nn_batches_get(attn_nn_batches *b, int64_t epoch, int64_t index, int64_t which,
                                attn_nn_batch *batch, const int64_t **pairs) {
    if (b == NULL || batch == NULL)
        return attn_nn_error(ATTN_ERROR_NULL, "batches or batch is NULL");
    if (epoch < 0) return refuse("epoch", "0 or more");
    plan(b, epoch);
    if (index < 0 || index >= b->count) return refuse("index", "0 to less than the epoch's count");
    if (which < 0 || which >= b->options.shards) return refuse("shard", "0 to less than shards");
    const int64_t turn = b->turns[index];
    const int64_t first = b->starts[turn], last = b->starts[turn + 1];
    const extent e = deal(b, first, last, which);
    pieces p;
    if (!lay_out(&b->shards[which], e, &p))
        return attn_nn_error(ATTN_ERROR_MEMORY, "out of memory");
    if (e.pairs > 0) memcpy(p.pairs, b->dealt, (size_t)e.pairs * sizeof *p.pairs);
    fill_tokens(b, &p, e.pairs);
    memset(batch, 0, sizeof *batch);
    if (b->corpus.guide_starts != NULL) {
        fill_guide(&b->corpus, &p, e.pairs);
        batch->guide_starts = p.guide_starts, batch->guide_keys = p.guide_keys;
    }
    batch->source = (attn_nn_sentences){e.pairs, p.source_starts, p.source};
    batch->target = (attn_nn_sentences){e.pairs, p.target_starts, p.target};
    batch->labels = p.labels;
    if (pairs != NULL) *pairs = p.pairs;
    return ATTN_OK;
}
