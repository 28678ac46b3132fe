/* target_end.h: what follows is compiled for the machine that the compiler was told, again. */
#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
