/* heap.c: see heap.h. */
#include "heap.h"

#include "attn/nn.h"

#include <malloc.h>
#include <stdlib.h>
#include <string.h>

static int64_t live, bytes, most; /* of malloc and its kin */
static int64_t calls, fail_at;
static bool failed;

int64_t heap_live(void) {
    return live;
}

int64_t heap_bytes(void) {
    return bytes;
}

int64_t heap_most(void) {
    return most;
}

void heap_forget_most(void) {
    most = bytes;
}

void heap_fail_at(int64_t number) {
    calls = 0, fail_at = number;
    if (number > 0) failed = false;
}

bool heap_failed(void) {
    return failed;
}

static bool fails(void) {
    const bool now = ++calls == fail_at;
    failed = failed || now;
    return now;
}

/* --- malloc and its kin: the linker leads their callers here -------------------------------------- */

void *__real_malloc(size_t size);
void *__real_calloc(size_t number, size_t size);
void *__real_realloc(void *memory, size_t size);
void *__real_aligned_alloc(size_t alignment, size_t size);
void __real_free(void *memory);

void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t number, size_t size);
void *__wrap_realloc(void *memory, size_t size);
void *__wrap_aligned_alloc(size_t alignment, size_t size);
void __wrap_free(void *memory);

static void count(void *memory, int sign) {
    live += sign;
    bytes += sign * (int64_t)malloc_usable_size(memory);
    if (bytes > most) most = bytes;
}

/* Of a block so much is filled, which is more than a small model's pass takes of an arena: all of it, each
 * time, would take most of the time under valgrind. */
enum { FILLED = 1 << 17 };

/* Filled with bytes that make a NaN, whichever type is read. */
static void *given(void *memory, size_t fresh) {
    if (memory == NULL) return NULL;
    memset(memory, 0xFF, fresh < FILLED ? fresh : FILLED);
    count(memory, 1);
    return memory;
}

void *__wrap_malloc(size_t size) {
    return fails() ? NULL : given(__real_malloc(size), size);
}

void *__wrap_calloc(size_t number, size_t size) {
    return fails() ? NULL : given(__real_calloc(number, size), 0);
}

void *__wrap_realloc(void *memory, size_t size) {
    if (memory == NULL) return __wrap_malloc(size);
    if (fails()) return NULL;
    count(memory, -1);
    void *const grown = __real_realloc(memory, size);
    count(grown != NULL ? grown : memory, 1);
    return grown;
}

void *__wrap_aligned_alloc(size_t alignment, size_t size) {
    return fails() ? NULL : given(__real_aligned_alloc(alignment, size), size);
}

void __wrap_free(void *memory) {
    if (memory != NULL) count(memory, -1);
    __real_free(memory);
}

/* --- Pieces of an arena, whose blocks are so large that a small model would ask for one ----------- */

attn_nn_real *__real_attn_nn_take(attn_nn_pass *pass, int64_t count);
attn_nn_real *__real_attn_nn_take_zeros(attn_nn_pass *pass, int64_t count);
void *__real_attn_nn_take_bytes(attn_nn_pass *pass, size_t size);

attn_nn_real *__wrap_attn_nn_take(attn_nn_pass *pass, int64_t count);
attn_nn_real *__wrap_attn_nn_take_zeros(attn_nn_pass *pass, int64_t count);
void *__wrap_attn_nn_take_bytes(attn_nn_pass *pass, size_t size);

static void *fail(attn_nn_pass *pass) {
    return attn_nn_fail(pass, ATTN_ERROR_MEMORY, "out of memory");
}

attn_nn_real *__wrap_attn_nn_take(attn_nn_pass *pass, int64_t count) {
    return fails() ? fail(pass) : __real_attn_nn_take(pass, count);
}

attn_nn_real *__wrap_attn_nn_take_zeros(attn_nn_pass *pass, int64_t count) {
    return fails() ? fail(pass) : __real_attn_nn_take_zeros(pass, count);
}

void *__wrap_attn_nn_take_bytes(attn_nn_pass *pass, size_t size) {
    return fails() ? fail(pass) : __real_attn_nn_take_bytes(pass, size);
}
