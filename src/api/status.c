/* status.c: what went wrong, as a number and as a sentence. */
#include <stdarg.h>
#include <stdio.h>

#include "api/check.h"

enum { MESSAGE_SIZE = 256 };

static _Thread_local char error_message[MESSAGE_SIZE];

attn_status attn_fail(attn_status status, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(error_message, sizeof error_message, format, arguments);
    va_end(arguments);
    return status;
}

const char *attn_error_message(void) {
    return error_message;
}

const char *attn_status_name(attn_status status) {
    static const char *const names[] = {
        [ATTN_OK] = "ATTN_OK",
        [ATTN_ERROR_NULL] = "ATTN_ERROR_NULL",
        [ATTN_ERROR_DTYPE] = "ATTN_ERROR_DTYPE",
        [ATTN_ERROR_SHAPE] = "ATTN_ERROR_SHAPE",
        [ATTN_ERROR_STRIDE] = "ATTN_ERROR_STRIDE",
        [ATTN_ERROR_ALIGNMENT] = "ATTN_ERROR_ALIGNMENT",
        [ATTN_ERROR_VALUE] = "ATTN_ERROR_VALUE",
        [ATTN_ERROR_ALIAS] = "ATTN_ERROR_ALIAS",
        [ATTN_ERROR_MEMORY] = "ATTN_ERROR_MEMORY",
        [ATTN_ERROR_UNSUPPORTED] = "ATTN_ERROR_UNSUPPORTED",
        [ATTN_ERROR_VERSION] = "ATTN_ERROR_VERSION",
    };
    const unsigned index = (unsigned)status;
    return index < sizeof names / sizeof *names ? names[index] : "unknown status";
}

const char *attn_version(void) {
    return ATTN_VERSION_STRING;
}
