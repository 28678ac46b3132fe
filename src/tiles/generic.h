/* generic.h: what the compiler makes of 16-byte vectors (SSE2 on any x86-64, plain instructions where there is
 * nothing better), or plain C without the extension. Included once, after common.h. */
#define ISA generic
#if defined(__GNUC__) && !defined(ATTN_NO_VECTORS)
#define ISA_BYTES 16
#else
#define ISA_BYTES 0
#endif
