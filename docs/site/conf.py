"""Sphinx's settings of the site. `docs/site/build` stages its sources and calls Sphinx on them."""

import os
from datetime import date

from staging.docstrings import restructured

project = "libattn"
author = "the libattn authors"
copyright = f"{date.today().year} the libattn authors. Apache License 2.0"
release = version = os.environ["ATTN_VERSION"]  # of attn.h, by docs/site/build

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx_copybutton",
    "sphinx_design",
]

# --- Pages ---------------------------------------------------------------------------------------

myst_enable_extensions = ["attrs_inline", "colon_fence", "deflist"]
myst_heading_anchors = 4
suppress_warnings = ["mystnb.unknown_mime_type"]
highlight_language = "none"

# --- Code of the pages: run when it, or the package, has changed; an error ends the build ---------

nb_execution_mode = "cache"
nb_execution_cache_path = os.environ["ATTN_SITE_CACHE"]
nb_execution_in_temp = True
nb_execution_raise_on_error = True
nb_execution_timeout = 600
nb_execution_show_tb = True
nb_merge_streams = True
nb_output_stderr = "remove"  # bars of progress

# --- Docstrings ----------------------------------------------------------------------------------

autodoc_member_order = "bysource"
autodoc_typehints = "none"  # the docstrings say more: shapes
python_maximum_signature_line_length = 80
python_use_unqualified_type_names = True
add_module_names = False


def _rewrite(app, what, name, obj, options, lines):
    lines[:] = restructured(lines, lambda name: name if name.startswith("attn.") else None)


def setup(app):
    app.connect("autodoc-process-docstring", _rewrite)


# --- What it looks like: nothing is fetched by a reader's browser ---------------------------------

html_theme = "furo"
html_title = "libattn"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sphinx = False
pygments_style = "xcode"
pygments_dark_style = "github-dark"
copybutton_prompt_text = r"\$ |>>> "
copybutton_prompt_is_regexp = True
copybutton_exclude = ".linenos, .gp, .go"
html_theme_options = {
    "light_css_variables": {
        "color-brand-primary": "#0b5d66",
        "color-brand-content": "#0b5d66",
        "color-brand-visited": "#0b5d66",
    },
    "dark_css_variables": {
        "color-brand-primary": "#6fd3dd",
        "color-brand-content": "#6fd3dd",
        "color-brand-visited": "#6fd3dd",
    },
}
