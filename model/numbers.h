/* numbers.h: float32 as 16 and as 8 bits, and back. */
#ifndef MODEL_NUMBERS_H
#define MODEL_NUMBERS_H

#include <stdint.h>

/* The nearest binary16 (of two, the even one), subnormal ones too; infinite from 65520 on. */
uint16_t model_half_from_float(float x);
float model_float_from_half(uint16_t half); /* exact */

/* 8 bits: x is about q * scale, q -127 .. 127. The scale of `count` numbers is the smallest float32
 * that is no less than their largest magnitude / 127; they are finite. 0 if all are. */
float model_scale(const float *x, int64_t count);
int8_t model_quantize(float x, float scale);

#endif
