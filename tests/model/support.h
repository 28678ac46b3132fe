/* support.h: what the tests of model/ share: small models, files in a folder of the test's own, and
 * safetensors files changed on purpose. */
#ifndef TESTS_MODEL_SUPPORT_H
#define TESTS_MODEL_SUPPORT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "model_file.h"

enum { VOCABULARY = 23 };

/* A model whose parameters are noise, with subwords of as many pieces, and something about its
 * training. Free it by model_file_free. */
model_file make_model(const attn_nn_config *config);

/* Small, and all its fields differ from their defaults. */
attn_nn_config transformer_config(void);
attn_nn_config recurrent_config(void);

/* What a SentencePiece model of that many pieces looks like from outside; to be freed. */
unsigned char *make_subwords(int64_t pieces, size_t *size);

/* "FOLDER/name", valid until the eighth call after it. The folder is made at the first one and removed
 * at the end of the program, with what is in it. */
const char *in_folder(const char *name);

/* How many files are there, hidden ones too. */
int files_in_folder(void);

/* All of a file, to be freed. */
unsigned char *read_file(const char *path, size_t *size);
void write_file(const char *path, const void *bytes, size_t size);

/* The file's header as JSON; and the file again with another header and the same data. */
json_t *read_header(const char *path);
void write_header(const char *path, const json_t *header);

/* Metadata `key` of the file, which is JSON; and that file again, with another text there. */
json_t *read_metadata(const char *path, const char *key);
void write_metadata(const char *path, const char *key, const char *text);

/* The sentence names the file and says that. */
void assert_says(const io_error *error, const char *path, const char *what);

/* Loading is refused, and says that. */
void assert_refused(const char *path, const char *what);

/* Same bits, all of the layout's numbers. */
void assert_same_values(const model_file *a, const model_file *b);

/* What a process may write into one file, from now on; 0: any amount. */
void limit_files(uint64_t bytes);

#endif
