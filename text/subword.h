/* subword.h: sentences as pieces of words, by SentencePiece (Kudo and Richardson 2018).
 *
 * The library is https://github.com/google/sentencepiece; where it was not there when this was built
 * every function that can fail does, with a sentence that says so. A model may be used by many
 * threads at a time. No C++ exception leaves these functions.
 */
#ifndef TEXT_SUBWORD_H
#define TEXT_SUBWORD_H

#include "error.h"

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct text_subword text_subword;

/* Ids of a vocabulary that stand for no text, and of what it does not know; -1 where a model, which
 * was then not trained here, has none. text_subword_train gives them these numbers. */
enum { TEXT_PAD = 0, TEXT_UNK = 1, TEXT_BOS = 2, TEXT_EOS = 3 };

typedef struct text_subword_specials {
    int32_t pad, unk, bos, eos;
} text_subword_specials;

/* Whether this build has SentencePiece. */
bool text_subword_available(void);

/* Loads a .model file, as text_subword_train or spm_train write it. Close it. */
bool text_subword_open(text_subword **subword, const char *path, io_error *error);

/* The same from memory, which is copied; `name` is for the sentence. */
bool text_subword_from_bytes(text_subword **subword, const void *bytes, size_t size,
                             const char *name, io_error *error);

/* Fine on NULL. */
void text_subword_close(text_subword *subword);

/* The model's bytes, as a .model file holds them; they live as long as the model. */
const void *text_subword_bytes(const text_subword *subword, size_t *size);

int32_t text_subword_vocabulary(const text_subword *subword); /* how many ids there are */
text_subword_specials text_subword_special_ids(const text_subword *subword);

/* The piece of an id, UTF-8, blanks as U+2581; "" for an id that is out of range. */
const char *text_subword_piece(const text_subword *subword, int32_t id);
/* The id of a piece; that of the unknown piece if there is no such one. */
int32_t text_subword_id(const text_subword *subword, const char *piece);
/* Whether the piece starts with U+2581, as the first of a word does. */
bool text_subword_begins_word(const text_subword *subword, int32_t id);
/* Whether the id stands for no text: padding, begin, end. */
bool text_subword_is_control(const text_subword *subword, int32_t id);

/* A sentence in pieces. Start with zeros; every encoding replaces what is there. */
typedef struct text_pieces {
    int64_t count;
    int32_t *id;          /* [count] */
    int32_t *begin, *end; /* [count]; the piece's bytes in the sentence: begin <= i < end. A piece
                            * that normalisation made of the same character as the next is empty. */
    int64_t capacity;     /* private */
} text_pieces;

/* Frees and zeroes; fine on zeroed pieces. */
void text_pieces_free(text_pieces *pieces);

/* Room for `count` pieces; what is there stays. */
bool text_pieces_reserve(text_pieces *pieces, int64_t count, io_error *error);

/* word[i]: in which word of the sentence, cut at blanks (U+0020) and counted from 0, piece i lies.
 * Returns the number of words. A blank that is a piece of its own belongs to the word after it. */
int64_t text_pieces_words(const text_pieces *pieces, const char *sentence, int32_t *word);

/* How many words a sentence has, cut in the same way. */
int64_t text_word_count(const char *sentence);

/* The best segmentation of the sentence, at most 2^31 - 1 bytes of UTF-8. No bos, no eos. */
bool text_subword_encode(const text_subword *subword, const char *sentence, size_t length,
                         text_pieces *pieces, io_error *error);

/* Segmentations drawn at random (Kudo 2018), one of each of `count` sentences: for unigram models
 * from all segmentations, with probabilities raised to the power alpha; for BPE models, merges are
 * dropped with probability alpha (Provilkov et al. 2020). The same seed draws the same segmentations of
 * the same sentences. SentencePiece seeds the generator of a thread once, so each call draws in a
 * thread of its own, one call at a time: call it with many sentences. */
bool text_subword_sample(const text_subword *subword, int64_t count, const char *const *sentences,
                         double alpha, uint32_t seed, text_pieces *pieces, io_error *error);

/* The text of the ids, in *text, to be freed; control ids are nothing, the unknown id is " ⁇ ". */
bool text_subword_decode(const text_subword *subword, const int32_t *ids, int64_t count,
                         char **text, io_error *error);

typedef enum text_subword_kind { TEXT_UNIGRAM, TEXT_BPE, TEXT_SUBWORD_KINDS } text_subword_kind;
extern const char *const text_subword_kind_names[TEXT_SUBWORD_KINDS]; /* "unigram", "bpe" */

typedef struct text_subword_options {
    int32_t vocabulary; /* how many ids, the four special ones included */
    bool fewer;         /* or as many as there are in little text; unigram models only */
    text_subword_kind kind;
    double coverage;            /* share of all characters that get pieces; 0: 0.9995 */
    const char *normalization;  /* nmt_nfkc, nfkc, nmt_nfkc_cf, nfkc_cf, identity; NULL: nmt_nfkc */
    bool byte_fallback;         /* characters without pieces become bytes, not the unknown id */
    const char *const *symbols; /* pieces of their own, wherever they occur; NULL if none */
    size_t symbols_count;
    int column; /* of each line in the files: n, from 1; 0: every column is a sentence */
} text_subword_options;

/* The next sentence to train on in *sentence, NULL after the last. */
typedef bool (*text_subword_next)(void *context, const char **sentence, io_error *error);

/* Trains a model; its bytes are in *bytes, to be freed. The same sentences in the same order give
 * the same bytes. SentencePiece passes over sentences of more than 4192 bytes. */
bool text_subword_train_on(text_subword_next next, void *context,
                           const text_subword_options *options, void **bytes, size_t *size,
                           io_error *error);

/* The same on the lines of files (lines.h); writes PREFIX.model and, for the reader, PREFIX.vocab
 * (`id TAB piece`): both whole, or neither. */
bool text_subword_train(const char *const *paths, size_t count, const text_subword_options *options,
                        const char *prefix, io_error *error);

#ifdef __cplusplus
}
#endif

#endif
