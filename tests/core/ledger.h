/* ledger.h: contexts that take their memory from an allocator that counts, fills what it gives with
 * NaN, puts guard bytes around it, and can be told to fail. */
#ifndef TESTS_CORE_LEDGER_H
#define TESTS_CORE_LEDGER_H

#include "support.h"

typedef struct ledger {
    int64_t live, calls, bytes, most_bytes;
    int64_t fail_at; /* the call that returns NULL; 0: none */
} ledger;

/* NULL if there was no memory for it. */
attn_context *ledger_context(ledger *l, attn_isa isa, int threads);

#endif
