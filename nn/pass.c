#include "nn.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static _Thread_local char message[512];

const char *attn_nn_error_message(void) {
    return message;
}

attn_status attn_nn_error(attn_status status, const char *sentence) {
    /* One pass may fail by another's failure, and so with the sentence that is here already. */
    if (sentence != message) (void)snprintf(message, sizeof message, "%s", sentence);
    return status;
}

void *attn_nn_fail(attn_nn_pass *pass, attn_status status, const char *sentence) {
    if (pass->status == ATTN_OK) pass->status = attn_nn_error(status, sentence);
    return NULL;
}

bool attn_nn_check(attn_nn_pass *pass, attn_status status) {
    if (status != ATTN_OK) attn_nn_fail(pass, status, attn_error_message());
    return pass->status == ATTN_OK;
}

/* --- The arena: blocks that grow, used one after another ----------------------------------------- */

enum { ALIGNMENT = 64, MAX_BLOCKS = 48 };
static const size_t first_block = (size_t)1 << 20;

/* Block b holds first_block << b bytes or more; a piece lies in one block. */
struct attn_nn_arena {
    struct {
        char *memory;
        size_t size, used;
    } blocks[MAX_BLOCKS];
    int count, current;
};

attn_nn_arena *attn_nn_arena_create(void) {
    return calloc(1, sizeof(attn_nn_arena));
}

void attn_nn_arena_destroy(attn_nn_arena *arena) {
    if (arena == NULL) return;
    for (int i = 0; i < arena->count; i++) free(arena->blocks[i].memory);
    free(arena);
}

size_t attn_nn_arena_bytes(const attn_nn_arena *arena) {
    size_t sum = 0;
    for (int i = 0; i < arena->count; i++) sum += arena->blocks[i].size;
    return sum;
}

static bool add_block(attn_nn_arena *arena, size_t at_least) {
    if (arena->count == MAX_BLOCKS) return false;
    size_t size = first_block << arena->count;
    while (size < at_least) size *= 2;
    char *const memory = aligned_alloc(ALIGNMENT, size);
    if (memory == NULL) return false;
    arena->blocks[arena->count].memory = memory;
    arena->blocks[arena->count].size = size;
    arena->blocks[arena->count++].used = 0;
    return true;
}

void *attn_nn_take_bytes(attn_nn_pass *pass, size_t size) {
    if (pass->status != ATTN_OK) return NULL;
    attn_nn_arena *const arena = pass->arena;
    if (size > SIZE_MAX / 4)
        return attn_nn_fail(pass, ATTN_ERROR_MEMORY, "too much memory asked for");
    const size_t need = (size + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    for (;;) {
        if (arena->current < arena->count) {
            const int c = arena->current;
            if (arena->blocks[c].size - arena->blocks[c].used >= need) {
                void *const piece = arena->blocks[c].memory + arena->blocks[c].used;
                arena->blocks[c].used += need;
                return piece;
            }
            if (c + 1 < arena->count) {
                arena->blocks[++arena->current].used = 0;
                continue;
            }
        }
        if (!add_block(arena, need)) return attn_nn_fail(pass, ATTN_ERROR_MEMORY, "out of memory");
        arena->current = arena->count - 1;
    }
}

/* A mark is the current block and how much of it is used. */
enum { BLOCK_BITS = 6 };

size_t attn_nn_mark(const attn_nn_pass *pass) {
    const attn_nn_arena *const arena = pass->arena;
    if (arena->count == 0) return 0;
    return arena->blocks[arena->current].used << BLOCK_BITS | (size_t)arena->current;
}

void attn_nn_release(attn_nn_pass *pass, size_t mark) {
    attn_nn_arena *const arena = pass->arena;
    if (arena->count == 0) return;
    arena->current = (int)(mark & ((1u << BLOCK_BITS) - 1));
    arena->blocks[arena->current].used = mark >> BLOCK_BITS;
}

attn_nn_real *attn_nn_take(attn_nn_pass *pass, int64_t count) {
    if (count < 0 || (uint64_t)count > SIZE_MAX / 8 / sizeof(attn_nn_real)) {
        return attn_nn_fail(pass, ATTN_ERROR_MEMORY, "too much memory asked for");
    }
    /* Something to point at, for results without elements too. */
    return attn_nn_take_bytes(pass, (size_t)(count ? count : 1) * sizeof(attn_nn_real));
}

attn_nn_real *attn_nn_take_zeros(attn_nn_pass *pass, int64_t count) {
    attn_nn_real *const piece = attn_nn_take(pass, count);
    if (piece != NULL) memset(piece, 0, (size_t)count * sizeof *piece);
    return piece;
}

/* --- Sentences ------------------------------------------------------------------------------------ */

int64_t attn_nn_longest(const attn_nn_sentences *sentences) {
    int64_t longest = 0;
    for (int64_t s = 0; s < sentences->count; s++) {
        const int64_t length = sentences->starts[s + 1] - sentences->starts[s];
        if (length > longest) longest = length;
    }
    return longest;
}
