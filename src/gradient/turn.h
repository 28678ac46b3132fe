/* turn.h: sums that several tasks add to, always in the same order, so that the bits do not depend on
 * who is faster. A turn is the number of the next contribution; whoever has that number adds, and
 * passes the turn on.
 *
 * A task waits only for tasks of lower number. Tasks are taken in rising order, so those have been
 * taken by workers that are running or have finished: some worker can always go on, with any number
 * of threads and with a parallel loop that runs its iterations one after the other. */
#ifndef ATTN_GRADIENT_TURN_H
#define ATTN_GRADIENT_TURN_H

#include <stdatomic.h>

#if defined(__unix__) || defined(__APPLE__)
#include <sched.h>
#define ATTN_YIELD() (void)sched_yield()
#else
#define ATTN_YIELD() (void)0
#endif

typedef atomic_llong attn_turn;

static inline void attn_turn_await(attn_turn *turn, long long number) {
    enum { PATIENCE = 4096 }; /* looks: then the core may be wanted by who has the turn */
    int waited = 0;
    while (atomic_load_explicit(turn, memory_order_acquire) != number) {
        if (waited < PATIENCE) waited++;
        else ATTN_YIELD();
    }
}

static inline void attn_turn_pass(attn_turn *turn, long long number) {
    atomic_store_explicit(turn, number + 1, memory_order_release);
}

#endif
