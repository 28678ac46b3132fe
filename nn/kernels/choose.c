#include "../nn.h"

#include "tiles/table.h"

extern const attn_nn_kernels attn_nn_kernels_generic;
#ifdef ATTN_HAVE_X86_TABLES
extern const attn_nn_kernels attn_nn_kernels_avx2, attn_nn_kernels_avx512;
#elif defined(__aarch64__) && defined(__GNUC__)
extern const attn_nn_kernels attn_nn_kernels_neon;
#endif

const attn_nn_kernels *attn_nn_kernels_for(attn_isa isa) {
#ifdef ATTN_HAVE_X86_TABLES
    if (isa == ATTN_ISA_AVX512) return &attn_nn_kernels_avx512;
    if (isa == ATTN_ISA_AVX2) return &attn_nn_kernels_avx2;
#elif defined(__aarch64__) && defined(__GNUC__)
    if (isa == ATTN_ISA_NEON) return &attn_nn_kernels_neon;
#endif
    (void)isa;
    return &attn_nn_kernels_generic;
}

const attn_nn_kernels *attn_nn_kernels_of(const attn_nn_pass *pass) {
    return attn_nn_kernels_for(attn_context_isa(pass->context));
}
