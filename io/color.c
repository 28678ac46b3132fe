#include "color.h"

#include <math.h>

static const io_color not_a_number = {200, 60, 160}; /* on no other scale position */

/* The sRGB transfer function (IEC 61966-2-1). */
static double encode(double linear) {
    return linear <= 0.0031308 ? 12.92 * linear : 1.055 * pow(linear, 1 / 2.4) - 0.055;
}

/* OKLab to linear sRGB: the inverse of Ottosson's two matrices around a cube root. */
static void to_linear(double lightness, double a, double b, double rgb[3]) {
    const double l = pow(lightness + 0.3963377774 * a + 0.2158037573 * b, 3);
    const double m = pow(lightness - 0.1055613458 * a - 0.0638541728 * b, 3);
    const double s = pow(lightness - 0.0894841775 * a - 1.2914855480 * b, 3);
    rgb[0] = 4.0767416621 * l - 3.3077115913 * m + 0.2309699292 * s;
    rgb[1] = -1.2684380046 * l + 2.6097574011 * m - 0.3413193965 * s;
    rgb[2] = -0.0041960863 * l - 0.7034186147 * m + 1.7076147010 * s;
}

static bool displayable(const double rgb[3]) {
    for (int i = 0; i < 3; i++) {
        if (rgb[i] < 0 || rgb[i] > 1) return false;
    }
    return true;
}

static unsigned char byte(double linear) {
    return (unsigned char)lround(255 * fmin(fmax(encode(linear), 0), 1));
}

/* Position 0 is pale, 1 is dark. */
static io_color at(double position) {
    const double pi = 3.14159265358979323846;
    const double lightness = 0.985 - 0.765 * position;
    const double hue = (105 + 175 * position) * pi / 180;
    double chroma = 0.16 * sin(pi * (0.06 + 0.80 * position));
    double rgb[3];
    to_linear(lightness, chroma * cos(hue), chroma * sin(hue), rgb);
    while (!displayable(rgb) && chroma > 1e-3) { /* as strong as sRGB can show */
        chroma *= 0.95;
        to_linear(lightness, chroma * cos(hue), chroma * sin(hue), rgb);
    }
    return (io_color){byte(rgb[0]), byte(rgb[1]), byte(rgb[2])};
}

io_color io_color_of(double share, bool dark) {
    if (isnan(share)) return not_a_number;
    const double clamped = fmin(fmax(share, 0), 1);
    return at(dark ? 1 - clamped : clamped);
}

io_color io_hue(int i, bool dark) {
    static const io_color light[IO_HUES] = {{0, 114, 178},   {213, 94, 0},  {0, 158, 115},
                                            {204, 121, 167}, {230, 159, 0}, {86, 180, 233},
                                            {90, 90, 90}};
    static const io_color night[IO_HUES] = {{86, 180, 233},  {230, 159, 0},  {0, 178, 130},
                                            {224, 145, 190}, {240, 228, 66}, {235, 115, 30},
                                            {190, 190, 190}};
    return (dark ? night : light)[i % IO_HUES];
}

bool io_color_is_pale(io_color color) {
    return 0.299 * color.red + 0.587 * color.green + 0.114 * color.blue > 115;
}
