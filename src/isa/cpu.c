/* cpu.c: detection, the ceiling, and the choice of a table. */
#include "isa/cpu.h"

#include <ctype.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/check.h"

#if defined(__x86_64__) || defined(_M_X64)
#include <cpuid.h>
#endif

/* ------------------------------------------------------------------------------- detection */

static bool bit(uint64_t word, int index) {
    return (word >> index) & 1;
}

attn_isa attn_x86_best_isa(const attn_x86_cpu *cpu) {
    const uint32_t b = cpu->leaf7_ebx;
    const bool saves_ymm = bit(cpu->leaf1_ecx, 27) && (cpu->xcr0 & 0x06) == 0x06;
    const bool saves_zmm = saves_ymm && (cpu->xcr0 & 0xe0) == 0xe0;
    const bool avx_fma = bit(cpu->leaf1_ecx, 28) && bit(cpu->leaf1_ecx, 12);
    const bool avx2 = cpu->max_leaf >= 7 && saves_ymm && avx_fma && bit(b, 5);
    const bool avx512 = avx2 && saves_zmm && bit(b, 16) && bit(b, 17) && bit(b, 30) && bit(b, 31);
    return avx512 ? ATTN_ISA_AVX512 : avx2 ? ATTN_ISA_AVX2 : ATTN_ISA_GENERIC;
}

#if defined(__x86_64__) || defined(_M_X64)

static uint64_t read_xcr0(void) {
    uint32_t low, high;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return (uint64_t)high << 32 | low;
}

attn_isa attn_detected_isa(void) {
    attn_x86_cpu cpu = {0, 0, 0, 0};
    uint32_t a, b, c, d;
    if (!__get_cpuid(0, &cpu.max_leaf, &b, &c, &d)) return ATTN_ISA_GENERIC;
    if (__get_cpuid(1, &a, &b, &c, &d)) cpu.leaf1_ecx = c;
    if (__get_cpuid_count(7, 0, &a, &b, &c, &d)) cpu.leaf7_ebx = b;
    if (bit(cpu.leaf1_ecx, 27)) cpu.xcr0 = read_xcr0();
    return attn_x86_best_isa(&cpu);
}

#elif defined(__aarch64__)

attn_isa attn_detected_isa(void) {
    return ATTN_ISA_NEON; /* part of the architecture's base */
}

#else

attn_isa attn_detected_isa(void) {
    return ATTN_ISA_GENERIC;
}

#endif

/* ---------------------------------------------------------------------------------- tables */

static const struct {
    attn_isa isa;
    const char *name;
    const attn_tiles *f32, *f64; /* NULL: not in this build */
} sets[] = {
    {ATTN_ISA_GENERIC, "generic", &attn_tiles_f32__generic, &attn_tiles_f64__generic},
#if defined(__aarch64__)
    {ATTN_ISA_NEON, "neon", &attn_tiles_f32__neon, &attn_tiles_f64__neon},
#else
    {ATTN_ISA_NEON, "neon", NULL, NULL},
#endif
#if defined(ATTN_HAVE_X86_TABLES)
    {ATTN_ISA_AVX2, "avx2", &attn_tiles_f32__avx2, &attn_tiles_f64__avx2},
    {ATTN_ISA_AVX512, "avx512", &attn_tiles_f32__avx512, &attn_tiles_f64__avx512},
#else
    {ATTN_ISA_AVX2, "avx2", NULL, NULL},
    {ATTN_ISA_AVX512, "avx512", NULL, NULL},
#endif
};

enum { SETS = sizeof sets / sizeof *sets };

static bool valid_isa(attn_isa isa) {
    return (int)isa >= ATTN_ISA_BEST && (int)isa <= SETS;
}

const attn_tiles *attn_tiles_for(attn_isa isa, attn_dtype dtype) {
    return dtype == ATTN_F32 ? sets[isa - 1].f32 : sets[isa - 1].f64;
}

const char *attn_isa_name(attn_isa isa) {
    if (!valid_isa(isa)) return NULL;
    return isa == ATTN_ISA_BEST ? "best" : sets[isa - 1].name;
}

static bool same_name(const char *a, const char *b) {
    for (; *a && *b; a++, b++)
        if (tolower((unsigned char)*a) != tolower((unsigned char)*b)) return false;
    return *a == *b;
}

attn_status attn_isa_from_name(const char *name, attn_isa *isa) {
    if (!name || !isa) return attn_fail(ATTN_ERROR_NULL, "name and isa must both be given");
    for (int i = ATTN_ISA_BEST; i <= SETS; i++) {
        if (!same_name(name, attn_isa_name((attn_isa)i))) continue;
        *isa = (attn_isa)i;
        return ATTN_OK;
    }
    return attn_fail(ATTN_ERROR_VALUE,
                     "isa is \"%.40s\", but must be best, generic, neon, avx2 or avx512", name);
}

bool attn_isa_available(attn_isa isa) {
    if (!valid_isa(isa) || isa == ATTN_ISA_BEST || !sets[isa - 1].f32) return false;
    return isa <= attn_detected_isa();
}

attn_isa attn_isa_under(attn_isa ceiling) {
    int isa = ceiling == ATTN_ISA_BEST ? (int)SETS : (int)ceiling;
    if (ceiling != ATTN_ISA_BEST && !sets[isa - 1].f32) return ATTN_ISA_GENERIC;
    while (isa > ATTN_ISA_GENERIC && !attn_isa_available((attn_isa)isa)) isa--;
    return (attn_isa)isa;
}

/* --------------------------------------------------------------------------------- ceiling */

/* -1 until first asked for; then what ATTN_MAX_ISA or attn_set_max_isa says. */
static atomic_int process_ceiling = -1;

static attn_isa environment_ceiling(bool *understood) {
    const char *const text = getenv("ATTN_MAX_ISA");
    *understood = true;
    if (!text || !*text) return ATTN_ISA_BEST;
    for (int i = ATTN_ISA_BEST; i <= SETS; i++)
        if (same_name(text, attn_isa_name((attn_isa)i))) return (attn_isa)i;
    *understood = false;
    return ATTN_ISA_BEST;
}

attn_isa attn_isa_ceiling(void) {
    int ceiling = atomic_load(&process_ceiling);
    if (ceiling < 0) {
        bool understood;
        const int from_environment = (int)environment_ceiling(&understood);
        /* Whoever comes first wins; a failed exchange leaves the winner's value in ceiling. */
        if (atomic_compare_exchange_strong(&process_ceiling, &ceiling, from_environment))
            ceiling = from_environment;
    }
    return (attn_isa)ceiling;
}

attn_status attn_set_max_isa(attn_isa ceiling) {
    if (!valid_isa(ceiling))
        return attn_fail(ATTN_ERROR_VALUE, "ceiling is %d, but must be an attn_isa", (int)ceiling);
    atomic_store(&process_ceiling, (int)ceiling);
    return ATTN_OK;
}

size_t attn_isa_reason(char *text, size_t size) {
    const attn_isa ceiling = attn_isa_ceiling(), best = attn_isa_under(ATTN_ISA_BEST);
    const attn_isa chosen = attn_isa_under(ceiling);
    bool understood;
    const attn_isa environment = environment_ceiling(&understood);
    const char *const value = getenv("ATTN_MAX_ISA");
    const bool from_environment = understood && value && *value && environment == ceiling;
    int length;
    if (chosen == best)
        length =
            snprintf(text, size, "%s: the best that this CPU and this build have%s%.40s%s",
                     attn_isa_name(chosen), understood ? "" : " (ATTN_MAX_ISA=\"",
                     understood ? "" : value, understood ? "" : "\" names no set and is ignored)");
    else
        length = snprintf(
            text, size, "%s: the best that this CPU and this build have is %s; %s%s lowers it",
            attn_isa_name(chosen), attn_isa_name(best),
            from_environment ? "ATTN_MAX_ISA=" : "the ceiling ", attn_isa_name(ceiling));
    return length < 0 ? 0 : (size_t)length;
}
