/* threefry.h: Threefry-2x32 with 20 rounds (Salmon et al. 2011), a function of a counter and a key that
 * passes for random: additions, rotations and exclusive ors of 32-bit words, so it is the same in every
 * lane of every instruction set. */
#ifndef ATTN_TILES_THREEFRY_H
#define ATTN_TILES_THREEFRY_H

#include <stdint.h>

/* One round; and the key that joins after every four. */
#define ATTN_THREEFRY_ROUND(x0, x1, turn)                       \
    do {                                                        \
        (x0) += (x1);                                           \
        (x1) = ((x1) << (turn) | (x1) >> (32 - (turn))) ^ (x0); \
    } while (0)
#define ATTN_THREEFRY_FOUR(x0, x1, turn0, turn1, turn2, turn3, key0, key1) \
    do {                                                                   \
        ATTN_THREEFRY_ROUND(x0, x1, turn0);                                \
        ATTN_THREEFRY_ROUND(x0, x1, turn1);                                \
        ATTN_THREEFRY_ROUND(x0, x1, turn2);                                \
        ATTN_THREEFRY_ROUND(x0, x1, turn3);                                \
        (x0) += (key0);                                                    \
        (x1) += (key1);                                                    \
    } while (0)

/* Turns the counter (x0, x1) into two random words in place; they may be words or vectors of words. */
#define ATTN_THREEFRY(x0, x1, key0, key1)                                             \
    do {                                                                              \
        const uint32_t a_ = (key0), b_ = (key1), c_ = a_ ^ b_ ^ UINT32_C(0x1BD11BDA); \
        (x0) += a_;                                                                   \
        (x1) += b_;                                                                   \
        ATTN_THREEFRY_FOUR(x0, x1, 13, 15, 26, 6, b_, c_ + 1);                        \
        ATTN_THREEFRY_FOUR(x0, x1, 17, 29, 16, 24, c_, a_ + 2);                       \
        ATTN_THREEFRY_FOUR(x0, x1, 13, 15, 26, 6, a_, b_ + 3);                        \
        ATTN_THREEFRY_FOUR(x0, x1, 17, 29, 16, 24, b_, c_ + 4);                       \
        ATTN_THREEFRY_FOUR(x0, x1, 13, 15, 26, 6, c_, a_ + 5);                        \
    } while (0)

#endif
