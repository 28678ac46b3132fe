/* pieces.h: how many pieces a SentencePiece model has, without the library that reads it. */
#ifndef MODEL_PIECES_H
#define MODEL_PIECES_H

#include <stdint.h>
#include <stddef.h>

/* -1: the bytes are no such model. */
int64_t model_count_pieces(const unsigned char *bytes, size_t size);

#endif
