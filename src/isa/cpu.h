/* cpu.h: which tables of tile functions this build has, and which of them this machine can run. */
#ifndef ATTN_ISA_CPU_H
#define ATTN_ISA_CPU_H

#include "attn/attn.h"
#include "tiles/table.h"

/* What an x86 processor and its operating system say of themselves: the registers that CPUID
 * leaves, and XCR0. A pure value, so that tests can describe machines that nobody here owns. */
typedef struct {
    uint32_t max_leaf;  /* leaf 0, EAX */
    uint32_t leaf1_ecx; /* leaf 1: FMA (12), OSXSAVE (27), AVX (28), F16C (29) */
    uint32_t leaf7_ebx; /* leaf 7.0: AVX2 (5), AVX512F (16), DQ (17), BW (30), VL (31) */
    uint64_t xcr0;      /* 0 without OSXSAVE: XMM (1), YMM (2), opmask and ZMM (5, 6, 7) */
} attn_x86_cpu;

/* The best set that such a processor can run: ATTN_ISA_AVX512, ATTN_ISA_AVX2 or ATTN_ISA_GENERIC.
 * The operating system must save the registers too, or their upper halves get lost. */
attn_isa attn_x86_best_isa(const attn_x86_cpu *cpu);

/* The best set of the machine this runs on. */
attn_isa attn_detected_isa(void);

/* The table for the best available set at or below the ceiling (ATTN_ISA_BEST: no ceiling). */
attn_isa attn_isa_under(attn_isa ceiling);
const attn_tiles *attn_tiles_for(attn_isa isa, attn_dtype dtype);

/* The process-wide ceiling (attn_set_max_isa, ATTN_MAX_ISA). */
attn_isa attn_isa_ceiling(void);

#endif
