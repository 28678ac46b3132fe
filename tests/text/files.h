/* files.h: what the tests of text/ share. */
#ifndef TESTS_TEXT_FILES_H
#define TESTS_TEXT_FILES_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define COUNT(list) (sizeof(list) / sizeof(list)[0])

/* The path of a file in memory that holds these bytes; it is the same file at each call. */
const char *file_of(const void *bytes, size_t size);

/* Fails unless the sentence has the part in it. */
void assert_says(const char *sentence, const char *part);

#endif
