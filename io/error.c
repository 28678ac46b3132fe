#include "error.h"

#include <stdarg.h>
#include <stdio.h>

void io_describe(io_error *error, const char *format, ...) {
    if (!error) return;
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(error->text, sizeof error->text, format, arguments);
    va_end(arguments);
}
