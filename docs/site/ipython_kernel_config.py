"""Pictures of the pages: vectors, and matplotlib's type like the site's."""

c = get_config()  # noqa: F821
c.Application.log_level = 40  # errors alone
c.IPKernelApp.matplotlib = "inline"  # figures are shown that pyplot does not know of
c.InlineBackend.figure_formats = {"svg"}
c.InlineBackend.rc = {
    "figure.dpi": 100,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "font.family": "sans-serif",
    "font.size": 10,
    "svg.fonttype": "path",
}
