/* context.c: threads, table and scratch of a series of calls. */
#include "api/context.h"

#include <stdatomic.h>
#include <stdlib.h>

#include "api/check.h"
#include "isa/cpu.h"

#ifdef _OPENMP
#include <omp.h>
#endif

enum { ALIGNMENT = 64, MAX_THREADS = 4096 };

/* A block of scratch begins with this header; what the caller gets begins ALIGNMENT bytes later. */
typedef struct scratch {
    struct scratch *next;
    size_t size; /* bytes behind the header */
} scratch;

struct attn_context {
    int threads;  /* 0: ask OpenMP at each call */
    attn_isa isa; /* ATTN_ISA_BEST: ask the ceiling at each call */
    attn_parallel_for *parallel_for;
    void *parallel_user;
    attn_allocator allocator;
    atomic_flag lock; /* guards idle; held for a few instructions */
    scratch *idle;    /* blocks that no call is using */
    atomic_size_t bytes;
};

static void *default_allocate(void *user, size_t size, size_t alignment) {
    (void)user;
    return aligned_alloc(alignment, (size + alignment - 1) / alignment * alignment);
}

static void default_release(void *user, void *memory) {
    (void)user;
    free(memory);
}

static attn_context default_context = {
    .allocator = {default_allocate, default_release, NULL},
    .lock = ATOMIC_FLAG_INIT,
};

attn_context *attn_context_or_default(attn_context *context) {
    return context ? context : &default_context;
}

/* --------------------------------------------------------------------------------- lifetime */

static attn_status check_options(const attn_context_options *o) {
    for (int i = 0; i < 8; i++) {
        if (o->reserved[i] != 0)
            return attn_fail(ATTN_ERROR_VERSION, "options.reserved[%d] is not zero", i);
    }
    if (o->threads < 0 || o->threads > MAX_THREADS)
        return attn_fail(ATTN_ERROR_VALUE, "options.threads is %d, but must be 0 (all) to %d",
                         o->threads, (int)MAX_THREADS);
    if (!attn_isa_name(o->max_isa))
        return attn_fail(ATTN_ERROR_VALUE, "options.max_isa is %d, but must be an attn_isa",
                         (int)o->max_isa);
    if ((o->allocator.allocate == NULL) != (o->allocator.release == NULL))
        return attn_fail(
            ATTN_ERROR_VALUE,
            "options.allocator has one of allocate and release, but must have both or neither");
    return ATTN_OK;
}

/* What both ceilings let through. */
static attn_isa isa_under_both(attn_isa a, attn_isa b) {
    const attn_isa under_a = attn_isa_under(a), under_b = attn_isa_under(b);
    return under_a < under_b ? under_a : under_b;
}

attn_status attn_context_create(attn_context **context, const attn_context_options *options) {
    static const attn_context_options defaults = {0};
    if (!context) return attn_fail(ATTN_ERROR_NULL, "context is NULL");
    *context = NULL;
    const attn_context_options *const o = options ? options : &defaults;
    const attn_status status = check_options(o);
    if (status != ATTN_OK) return status;

    const attn_allocator allocator =
        o->allocator.allocate ? o->allocator : default_context.allocator;
    attn_context *const made = allocator.allocate(allocator.user, sizeof *made, ALIGNMENT);
    if (!made)
        return attn_fail(ATTN_ERROR_MEMORY, "no memory for a context (%zu bytes)", sizeof *made);
    made->threads = o->threads;
    made->isa = isa_under_both(o->max_isa, attn_isa_ceiling());
    made->parallel_for = o->parallel_for;
    made->parallel_user = o->parallel_user;
    made->allocator = allocator;
    atomic_flag_clear(&made->lock);
    made->idle = NULL;
    atomic_init(&made->bytes, 0);
    *context = made;
    return ATTN_OK;
}

void attn_context_destroy(attn_context *context) {
    if (!context) return;
    const attn_allocator allocator = context->allocator;
    while (context->idle) {
        scratch *const block = context->idle;
        context->idle = block->next;
        allocator.release(allocator.user, block);
    }
    allocator.release(allocator.user, context);
}

/* ------------------------------------------------------------------------------- questions */

int attn_context_threads(const attn_context *context) {
    const attn_context *const c = context ? context : &default_context;
    if (c->threads) return c->threads;
#ifdef _OPENMP
    const int threads = omp_get_max_threads();
    return threads < MAX_THREADS ? threads : MAX_THREADS;
#else
    return 1;
#endif
}

attn_isa attn_context_isa(const attn_context *context) {
    const attn_context *const c = context ? context : &default_context;
    return c->isa == ATTN_ISA_BEST ? attn_isa_under(attn_isa_ceiling()) : c->isa;
}

const attn_tiles *attn_context_tiles(const attn_context *context, attn_dtype dtype) {
    return attn_tiles_for(attn_context_isa(context), dtype);
}

size_t attn_context_scratch_bytes(const attn_context *context) {
    return atomic_load(&(context ? context : &default_context)->bytes);
}

/* --------------------------------------------------------------------------------- scratch */

static void lock(attn_context *c) {
    while (atomic_flag_test_and_set_explicit(&c->lock, memory_order_acquire)) continue;
}

static void unlock(attn_context *c) {
    atomic_flag_clear_explicit(&c->lock, memory_order_release);
}

/* Takes the first idle block that is large enough, else any idle block, else NULL. */
static scratch *take_idle(attn_context *c, size_t size) {
    lock(c);
    scratch **link = &c->idle;
    while (*link && (*link)->size < size) link = &(*link)->next;
    if (!*link) link = &c->idle;
    scratch *const block = *link;
    if (block) *link = block->next;
    unlock(c);
    return block;
}

void *attn_scratch_take(attn_context *c, size_t size) {
    scratch *block = take_idle(c, size);
    if (block && block->size < size) { /* outgrown: make room before asking for more */
        atomic_fetch_sub(&c->bytes, block->size + ALIGNMENT);
        c->allocator.release(c->allocator.user, block);
        block = NULL;
    }
    if (!block) {
        if (size > SIZE_MAX / 2) return NULL;
        block = c->allocator.allocate(c->allocator.user, size + ALIGNMENT, ALIGNMENT);
        if (!block) return NULL;
        block->size = size;
        atomic_fetch_add(&c->bytes, size + ALIGNMENT);
    }
    return (char *)block + ALIGNMENT;
}

void attn_scratch_give(attn_context *c, void *memory) {
    scratch *const block = (scratch *)(void *)((char *)memory - ALIGNMENT);
    lock(c);
    block->next = c->idle;
    c->idle = block;
    unlock(c);
}

/* --------------------------------------------------------------------------------- threads */

void attn_run_parallel(attn_context *c, int64_t count, void (*work)(void *argument, int64_t i),
                       void *argument) {
    if (count == 1) {
        work(argument, 0);
    } else if (c->parallel_for) {
        c->parallel_for(c->parallel_user, count, work, argument);
    } else {
#ifdef _OPENMP
#pragma omp parallel for num_threads((int)count) schedule(static, 1)
#endif
        for (int64_t i = 0; i < count; i++) work(argument, i);
    }
}
