/* ledger.c: see ledger.h. */
#include "ledger.h"

#include <stdlib.h>
#include <string.h>

/* Beside each block: its size, and bytes that must stay as they are on either side. */
enum { MARGIN = 64, MARK = 0xA7 };

static void *ledger_allocate(void *user, size_t size, size_t alignment) {
    ledger *const l = user;
    assert_true(alignment != 0 && (alignment & (alignment - 1)) == 0 && alignment <= MARGIN);
    if (++l->calls == l->fail_at) return NULL;
    unsigned char *const base = aligned_alloc(MARGIN, (size + 3 * MARGIN - 1) / MARGIN * MARGIN);
    assert_non_null(base);
    memcpy(base, &size, sizeof size);
    memset(base + sizeof size, MARK, MARGIN - sizeof size);
    memset(base + MARGIN, POISON, size);
    memset(base + MARGIN + size, MARK, MARGIN);
    l->live++;
    l->bytes += (int64_t)size;
    if (l->bytes > l->most_bytes) l->most_bytes = l->bytes;
    return base + MARGIN;
}

static void ledger_release(void *user, void *memory) {
    ledger *const l = user;
    unsigned char *const base = (unsigned char *)memory - MARGIN;
    size_t size;
    memcpy(&size, base, sizeof size);
    for (size_t k = sizeof size; k < MARGIN; k++) assert_int_equal(base[k], MARK);
    for (size_t k = 0; k < MARGIN; k++) assert_int_equal(base[MARGIN + size + k], MARK);
    l->live--;
    l->bytes -= (int64_t)size;
    free(base);
}

attn_context *ledger_context(ledger *l, attn_isa isa, int threads) {
    const attn_context_options options = {
        .threads = threads, .max_isa = isa, .allocator = {ledger_allocate, ledger_release, l}};
    attn_context *context = NULL;
    if (attn_context_create(&context, &options) != ATTN_OK) return NULL;
    return context;
}
