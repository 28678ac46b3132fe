#include "pieces.h"

#include <stdbool.h>

/* A model is a protocol buffer (https://protobuf.dev/programming-guides/encoding/): fields, each a tag,
 * number * 8 + wire type, and a value. Field 1 of ModelProto is a piece, as often as there are pieces. */
enum { PIECE_FIELD = 1, VARINT = 0, FIXED64 = 1, DELIMITED = 2, FIXED32 = 5 };

typedef struct reader {
    const unsigned char *at, *end;
} reader;

/* 7 bits a byte, the lowest first; the top bit says that there is more. */
static bool read_varint(reader *r, uint64_t *value) {
    *value = 0;
    for (int shift = 0; shift < 64 && r->at < r->end; shift += 7) {
        const unsigned char byte = *r->at++;
        *value |= (uint64_t)(byte & 0x7F) << shift;
        if (!(byte & 0x80)) return true;
    }
    return false;
}

static bool skip(reader *r, uint64_t size) {
    if (size > (uint64_t)(r->end - r->at)) return false;
    r->at += size;
    return true;
}

static bool skip_value(reader *r, unsigned wire) {
    uint64_t value = 0;
    switch (wire) {
    case VARINT: return read_varint(r, &value);
    case FIXED64: return skip(r, 8);
    case DELIMITED: return read_varint(r, &value) && skip(r, value);
    case FIXED32: return skip(r, 4);
    default: return false;
    }
}

int64_t model_count_pieces(const unsigned char *bytes, size_t size) {
    if (size == 0) return -1;
    reader r = {bytes, bytes + size};
    int64_t pieces = 0;
    while (r.at < r.end) {
        uint64_t tag = 0;
        if (!read_varint(&r, &tag) || tag >> 3 == 0) return -1;
        if (tag == (PIECE_FIELD << 3 | DELIMITED)) pieces++;
        if (!skip_value(&r, tag & 7)) return -1;
    }
    return pieces;
}
