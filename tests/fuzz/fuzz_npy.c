/* Any bytes as the header of a .npy file, and some data after it: refused with a sentence, or an
 * array that can be read to its ends. */
#include "files.h"
#include "npy.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

enum { PREFIX = 12, HEADER_MAX = 4096, DATA = 64 };

/* The magic and the length before the header are nearly always right, or little would come
 * further. */
static size_t frame(uint8_t *file, const uint8_t *bytes, size_t size) {
    const uint8_t version = bytes[0] % 4; /* 1 and up are known */
    const size_t prefix = version == 1 ? PREFIX - 2 : PREFIX;
    const size_t header = size - 1 < HEADER_MAX ? size - 1 : HEADER_MAX;
    const uint64_t claimed = header + bytes[0] / 32u * 100u;
    memcpy(file, "\x93NUMPY", 6);
    file[6] = version;
    file[7] = 0;
    for (size_t i = 8; i < prefix; i++) file[i] = (uint8_t)(claimed >> (8 * (i - 8)));
    memcpy(file + prefix, bytes + 1, header);
    memset(file + prefix + header, 0x3f, DATA);
    return prefix + header + DATA - bytes[0] / 8 % 4 * DATA / 4;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
    static uint8_t whole[PREFIX + HEADER_MAX + DATA];
    if (size == 0) return 0;
    io_array array;
    io_error error = {0};
    if (io_npy_open(&array, fuzz_file(whole, frame(whole, bytes, size)), &error)) {
        fuzz_touch(&array);
        io_array_close(&array);
    } else {
        fuzz_refused(&error);
    }
    return 0;
}
