"""How Sphinx builds the documentation: `nox -s docs`. It asks no network."""

from importlib import metadata

project = "motia_trio"
author = "motia_trio contributors"
copyright = "2026, motia_trio contributors"
release = metadata.version("motia-trio")

extensions = ["sphinx.ext.autodoc", "sphinxcontrib_trio", "myst_parser"]
exclude_patterns = ["_build"]

html_theme = "furo"
html_title = "motia_trio"

myst_enable_extensions = ["attrs_inline", "colon_fence", "deflist", "fieldlist"]
myst_heading_anchors = 3

default_role = "py:obj"  # in a docstring, `name` is a link where there is something to link to
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"

# Our own names must resolve. Those of Python and of libraries do not: to link them would take
# their inventories, from the network.
nitpicky = True
nitpick_ignore_regex = [
    (r"py:.*", r"(?!motia_trio\b).*"),
    # what the helpers http(), queue()… make: to be put into step(), and no more
    (r"py:class", r"motia_trio\.steps\.raw\..*"),
    # parts of a service that its edges use
    (r"py:class", r"motia_trio\.stream_server\..*"),
    (r"py:class", r"motia_trio\.client\.(line\.Line|follower\.T)"),
]
