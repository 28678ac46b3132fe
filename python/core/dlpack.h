/* dlpack.h: as much of DLPack's binary interface (version 1) as reading a CPU tensor needs. The layout is
 * that of the specification, https://dmlc.github.io/dlpack/latest/; its header is no dependency, since
 * the exchange table is newer than most that are installed. */
#ifndef ATTN_PYTHON_DLPACK_H
#define ATTN_PYTHON_DLPACK_H

#include <stdint.h>

enum { DLPACK_MAJOR = 1, DLPACK_CPU = 1 };
enum { DLPACK_INT = 0, DLPACK_UINT = 1, DLPACK_FLOAT = 2, DLPACK_BOOL = 6 };

typedef struct dlpack_tensor {
    void *data;
    struct {
        int32_t type, number;
    } device;
    int32_t ndim;
    struct {
        uint8_t code, bits;
        uint16_t lanes;
    } dtype;
    int64_t *shape, *strides; /* in elements; strides NULL: dense */
    uint64_t byte_offset;
} dlpack_tensor;

/* What a type's __dlpack_c_exchange_api__ points to. */
typedef struct dlpack_exchange {
    struct {
        uint32_t major, minor;
    } version;
    void *previous; /* a table of an older version, or NULL */
    void *allocate, *export, *import;
    int (*view)(void *object, dlpack_tensor *tensor); /* borrowed; 0, or -1 with an exception */
    void *stream;
} dlpack_exchange;

#endif
