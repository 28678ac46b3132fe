/* Any bytes as the header of a .safetensors file, and some data after it: refused with a sentence,
 * or tensors that can be read to their ends, and tokens. */
#include "files.h"
#include "safetensors.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

enum { LENGTH = 8, HEADER_MAX = 4096, DATA = 64 };

/* The length before the header is nearly always the header's own, or little would come further. */
static size_t frame(uint8_t *file, const uint8_t *bytes, size_t size) {
    const size_t header = size - 1 < HEADER_MAX ? size - 1 : HEADER_MAX;
    const uint64_t claimed = bytes[0] == 0xff ? UINT64_MAX - size : header + bytes[0] / 16u * 100u;
    for (int i = 0; i < LENGTH; i++) file[i] = (uint8_t)(claimed >> (8 * i));
    memcpy(file + LENGTH, bytes + 1, header);
    memset(file + LENGTH + header, 0x3f, DATA);
    return LENGTH + header + DATA;
}

static void read_tensor(const io_safetensors *file, const char *name) {
    io_array array;
    io_error error = {0};
    if (io_safetensors_array(file, name, &array, &error)) {
        fuzz_touch(&array);
        io_array_close(&array);
    } else {
        fuzz_refused(&error);
    }
}

static void read_tokens(const io_safetensors *file) {
    io_tokens tokens = {0};
    io_error error = {0};
    if (!io_safetensors_tokens(file, "tokens", &tokens, &error)) fuzz_refused(&error);
    for (int64_t i = 0; i < tokens.count; i++) (void)strlen(io_token(&tokens, i));
    io_tokens_free(&tokens);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
    static uint8_t whole[LENGTH + HEADER_MAX + DATA];
    if (size == 0) return 0;
    io_safetensors file;
    io_error error = {0};
    if (io_safetensors_open(&file, fuzz_file(whole, frame(whole, bytes, size)), &error)) {
        read_tensor(&file, "query");
        read_tokens(&file);
        io_safetensors_close(&file);
    } else {
        fuzz_refused(&error);
    }
    return 0;
}
