/* wrong.c: see wrong.h. */
#include "wrong.h"

#include <string.h>

void set_wrong(void *in, const wrong *x) {
    unsigned char *const at = (unsigned char *)in + x->offset;
    const int number = (int)x->integer;
    const uint64_t word = (uint64_t)x->integer;
    const bool flag = x->integer != 0;
    uintptr_t data; /* a number: the other kinds have no pointer there */
    memcpy(&data, at, sizeof data);
    data = x->integer == 0 ? 0 : data + (uintptr_t)x->integer;
    switch (x->kind) {
    case INTEGER: memcpy(at, &x->integer, sizeof x->integer); break;
    case ENUM: memcpy(at, &number, sizeof number); break;
    case REAL: memcpy(at, &x->real, sizeof x->real); break;
    case DATA: memcpy(at, &data, sizeof data); break;
    case RESERVED: memcpy(at, &word, sizeof word); break;
    case FLAG: memcpy(at, &flag, sizeof flag); break;
    }
}

void assert_both_refuse(const attn_problem *p, attn_status status, const char *message) {
    for (int reference = 0; reference < 2; reference++) {
        const attn_status got = reference ? attn_reference_forward(p) : attn_forward(NULL, p);
        if (got == status && strstr(attn_error_message(), message) != NULL) continue;
        fail_msg("%s: \"%s\", but expected %s: \"%s\"", attn_status_name(got),
                 got ? attn_error_message() : "", attn_status_name(status), message);
    }
}
