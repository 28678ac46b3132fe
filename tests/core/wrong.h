/* wrong.h: one field of a problem, or of what hangs on it, set to a value that it does not take.
 *
 * A file that includes this defines WRONG_IN, the struct that the fields below are members of. */
#ifndef TESTS_CORE_WRONG_H
#define TESTS_CORE_WRONG_H

#include "support.h"

typedef enum wrong_kind { INTEGER, ENUM, REAL, DATA, RESERVED, FLAG } wrong_kind;

typedef struct wrong {
    int world;     /* which of the file's problems it is set in */
    size_t offset; /* in WRONG_IN */
    wrong_kind kind;
    int64_t integer; /* DATA: bytes to add to the pointer, or 0 for NULL */
    double real;
    attn_status status;
    const char *message;
} wrong;

#define INTEGER_AT(world, field, value, status, message) \
    { world, offsetof(WRONG_IN, field), INTEGER, value, 0, status, message }
#define ENUM_AT(world, field, value, status, message) \
    { world, offsetof(WRONG_IN, field), ENUM, value, 0, status, message }
#define REAL_AT(world, field, value, status, message) \
    { world, offsetof(WRONG_IN, field), REAL, 0, value, status, message }
#define FLAG_AT(world, field, status, message) \
    { world, offsetof(WRONG_IN, field), FLAG, 1, 0, status, message }
#define NULL_AT(world, field, status, message) \
    { world, offsetof(WRONG_IN, field), DATA, 0, 0, status, message }
#define SHIFT_AT(world, field, message) \
    { world, offsetof(WRONG_IN, field), DATA, 1, 0, ATTN_ERROR_ALIGNMENT, message }
#define RESERVED_AT(world, field, message) \
    { world, offsetof(WRONG_IN, field), RESERVED, 1, 0, ATTN_ERROR_VERSION, message }

void set_wrong(void *in, const wrong *x);

/* Both attn_forward and the reference refuse it so, with a sentence that has `message` in it. */
void assert_both_refuse(const attn_problem *p, attn_status status, const char *message);

#endif
