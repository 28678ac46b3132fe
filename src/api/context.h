/* context.h: how a call gets its threads, its table and its scratch memory. */
#ifndef ATTN_API_CONTEXT_H
#define ATTN_API_CONTEXT_H

#include "attn/attn.h"
#include "tiles/table.h"

/* NULL becomes the default context. */
attn_context *attn_context_or_default(attn_context *context);

const attn_tiles *attn_context_tiles(const attn_context *context, attn_dtype dtype);

/* At least `size` bytes, aligned to 64, this call's own until given back; NULL if there are none. */
void *attn_scratch_take(attn_context *context, size_t size);
void attn_scratch_give(attn_context *context, void *memory);

/* Calls work(argument, i) for i = 0 .. count-1 on the context's threads. */
void attn_run_parallel(attn_context *context, int64_t count,
                       void (*work)(void *argument, int64_t i), void *argument);

#endif
