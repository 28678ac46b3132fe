/* attention.h: what attention over whole sentences and attention in steps share. */
#ifndef NN_LAYERS_ATTENTION_H
#define NN_LAYERS_ATTENTION_H

#include "../nn.h"

/* Makes the problem's score have the layer's bias by offset, if there is one; it keeps `relative`. */
void attn_nn_describe_relative(const attn_nn_attention *layer, const attn_nn_pass *pass,
                               attn_relative *relative, attn_problem *p);

#endif
