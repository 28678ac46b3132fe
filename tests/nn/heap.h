/* heap.h: malloc and its kin, and what passes take from their arenas, counted; and told to fail. A program
 * that is linked with -Wl,--wrap for each of them (tests/CMakeLists.txt) has them for the library of double,
 * libattn and itself; the C library, the BLAS and cmocka keep their own. Fresh memory is full of NaN. One
 * thread only. */
#ifndef TESTS_NN_HEAP_H
#define TESTS_NN_HEAP_H

#include <stdbool.h>
#include <stdint.h>

/* Of malloc and its kin: how often something was given that is not yet given back; its bytes, and the most
 * that they have been since heap_forget_most. */
int64_t heap_live(void);
int64_t heap_bytes(void);
int64_t heap_most(void);
void heap_forget_most(void);

/* The `number`-th call from now on, of those above that give memory, gives none. 0: none fails from now on. */
void heap_fail_at(int64_t number);

/* Whether one has failed since heap_fail_at was last called with a number. */
bool heap_failed(void);

#endif
