/* files.h: what the fuzzers of io/ share. */
#ifndef FUZZ_FILES_H
#define FUZZ_FILES_H

#include "array.h"

/* The path of a file in memory that holds these bytes; it is the same file at each call. */
const char *fuzz_file(const uint8_t *bytes, size_t size);

/* Reads the array's outermost bytes, which lie in the file if its header was checked. */
void fuzz_touch(const io_array *array);

/* A refusal must say why. */
void fuzz_refused(const io_error *error);

#endif
