/* color.h: from a number to a colour, the same on terminals, in PNG and in HTML.
 *
 * The scale runs through OKLCh (Ottosson 2020), a space that is even to the eye: lightness falls
 * steadily from pale to dark while the hue turns from yellow over green and teal to blue. Steady
 * lightness is what makes it read the same for the colour-blind, and in grey.
 */
#ifndef IO_COLOR_H
#define IO_COLOR_H

#include <stdbool.h>

typedef struct io_color {
    unsigned char red, green, blue;
} io_color;

/* The colour for a share of the scale, 0 to 1 (others are clamped; NaN has a colour of its own).
 * The background end is 0: pale for light surroundings, dark for dark ones. */
io_color io_color_of(double share, bool dark);

/* Colours that are told apart by the colour-blind too, for heads: those of Okabe & Ito (2008), in an
 * order whose first ones stand out best from the paper; the yellow is left out on white, which it
 * does not stand out from. They begin anew after the last. */
enum { IO_HUES = 7, IO_HUE_PATH = 1 };
io_color io_hue(int i, bool dark);

/* Whether black text reads better on the colour than white. */
bool io_color_is_pale(io_color color);

#endif
