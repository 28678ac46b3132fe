"""The kinds of text: packages, what of them is unpacked, how it is read, and how much must come.

The ranges were measured on Debian 12 (docs/DATA.md) and are a fifth wide on either side: updates of
packages stay inside, the loss of a package that matters or of an extractor does not. Wesnoth's
range is half to one and a half times what an earlier tool with other filters found."""

from typing import Callable, NamedTuple

from . import catalogues, descriptions, games, man, markup


class Source(NamedTuple):
    """One kind of text."""

    name: str
    title: str
    packages: tuple
    wanted: str  # pattern of the files to unpack
    extract: Callable  # (folder of unpacked packages, folder of apt's lists) -> documents
    kept: tuple  # least and most pairs that are kept
    clean: tuple  # least and most of those that are clean
    agree: float  # least share of pairs whose numbers agree; 0.979 to 0.997 were measured
    default: bool = True


def _descriptions(_unpacked, lists):
    return descriptions.extract(
        descriptions.indexes(lists, "fr"), descriptions.indexes(lists, "en")
    )


def _pages(*patterns):
    return lambda unpacked, _lists: markup.pages(unpacked, patterns)


def _help(unpacked, _lists):
    return markup.by_id(
        unpacked, r"libreoffice-help-fr/(.*)/fr/(.*\.html)", r"libreoffice-help-en-us/\1/en-US/\2"
    )


DEBIAN_MANUALS = (
    (r"debian-handbook/(.*)/fr-FR/(.*\.html)", r"debian-handbook/\1/en-US/\2"),
    (r"debian-reference-fr/(.*)\.fr\.html", r"debian-reference-en/\1.en.html"),
    (r"installation-guide-amd64/(.*)/fr/(.*\.html)", r"installation-guide-amd64/\1/en/\2"),
    (r"debian-faq-fr/(.*)/fr/(.*)\.fr\.html", r"debian-faq/\1/\2.en.html"),
    (r"developers-reference-fr/(.*)/fr/(.*\.html)", r"developers-reference/\1/\2"),
    (r"maint-guide-fr/(.*)\.fr\.html", r"maint-guide/\1.en.html"),
    (r"aptitude-doc-fr/(.*)/fr/(.*\.html)", r"aptitude-doc-en/\1/en/\2"),
    (
        r"debian-edu-doc-fr/(.*)/debian-edu-doc-fr/(.*\.html)",
        r"debian-edu-doc-en/\1/debian-edu-doc-en/\2",
    ),
    (r"harden-doc/(.*)/fr-FR/(.*\.html)", r"harden-doc/\1/en-US/\2"),
    (r"live-manual-html/(.*)\.fr\.html", r"live-manual-html/\1.en.html"),
)

# Programs of GNOME and MATE: their help, and their catalogues.
DESKTOP = (
    "accerciser aisleriot baobab cheese-common eog evince-common evolution-common file-roller "
    "five-or-more four-in-a-row gbrainy gedit-common gnome-calculator gnome-chess gnome-klotski "
    "gnome-mahjongg gnome-mines gnome-nibbles gnome-robots gnome-sudoku gnome-system-monitor "
    "gnome-terminal-data gnome-tetravex gucharmap hitori iagno lightsoff orca quadrapassel "
    "rhythmbox-data seahorse simple-scan sound-juicer swell-foop tali totem-common"
)
# Tools with translated manual pages, and catalogues.
TOOLS = (
    "apt aptitude-common bash binutils-common coreutils cryptsetup-bin debhelper devscripts dpkg "
    "dpkg-dev findutils git grep man-db passwd procps sed subversion systemd tar util-linux"
)

SOURCES = (
    Source(
        "descriptions", "package descriptions", (), "", _descriptions,
        (58500, 87700), (30700, 46000), 0.96,
    ),
    Source(
        "catalogues", "catalogues of programs",
        tuple(
            f"libreoffice-l10n-fr gcc-12-locales gnucash-common digikam-data rkward-data gramps "
            f"krita-l10n util-linux-locales gnumeric-common kdevelop-l10n filezilla-common "
            f"vlc-l10n k3b-i18n {TOOLS} {DESKTOP} audacity-data darktable evolution-data-server-common "
            f"gnome-control-center-data homebank-data nautilus-data tellico-data".split()
        ),
        r"(^|/)fr/LC_MESSAGES/[^/]*\.mo$", lambda unpacked, _lists: catalogues.extract(unpacked),
        (77000, 115500), (23700, 35500), 0.96,
    ),
    Source(
        "libreoffice", "LibreOffice help", ("libreoffice-help-fr", "libreoffice-help-en-us"),
        r"/help/(fr|en-US)/text/.*\.html$", _help,
        (24700, 37000), (18600, 27900), 0.96,
    ),
    Source(
        "man", "manual pages",
        tuple(f"manpages-fr manpages-fr-dev manpages manpages-dev {TOOLS}".split()),
        r"usr/share/man/(fr/)?man\d", lambda unpacked, _lists: man.extract(unpacked),
        (37100, 55600), (25100, 37700), 0.96,
    ),
    Source(
        "apache", "Apache manual", ("apache2-doc",), r"/manual/(fr|en)/.*\.html$",
        _pages((r"(apache2-doc/.*/manual)/fr/(.*\.html)", r"\1/en/\2")),
        (13200, 19700), (8900, 13400), 0.96,
    ),
    Source(
        "gnome", "help of GNOME and MATE",
        tuple(f"gnome-user-docs gnome-devel-docs mate-user-guide {DESKTOP}".split()),
        r"usr/share/help/(fr|C)/.*\.(page|docbook|xml)$",
        _pages((r"(.*/usr/share/help)/fr/(.*\.(?:page|docbook|xml))", r"\1/C/\2")),
        (14500, 21700), (11000, 16500), 0.96,
    ),
    Source(
        "debian", "Debian manuals",
        tuple(
            "aptitude-doc-en aptitude-doc-fr debian-edu-doc-en debian-edu-doc-fr debian-faq "
            "debian-faq-fr debian-handbook debian-reference-en debian-reference-fr "
            "developers-reference developers-reference-fr harden-doc installation-guide-amd64 "
            "live-manual-html maint-guide maint-guide-fr".split()
        ),
        r"(/html/(fr-FR|en-US)/|/(fr|en)/|/debian-reference/|/FAQ/|/developers-reference/"
        r"|/maint-guide/|/debian-edu-doc-|/live-manual/).*\.html$",
        _pages(*DEBIAN_MANUALS),
        (17900, 26800), (12000, 18000), 0.96,
    ),
    Source(
        "games", "texts of games",
        ("cataclysm-dda-data", "crawl-common", "freeciv-data", "ufoai-misc"),
        r"(^|/)fr/LC_MESSAGES/[^/]*\.mo$|/crawl/dat/descript/(fr/)?[^/]*\.txt$",
        lambda unpacked, _lists: games.extract(unpacked),
        (17000, 25500), (13000, 19500), 0.96,
    ),
    Source(
        "wesnoth", "The Battle for Wesnoth (278 MB)",
        tuple(
            "wesnoth-1.16-data wesnoth-1.16-did wesnoth-1.16-dm wesnoth-1.16-dw wesnoth-1.16-ei "
            "wesnoth-1.16-httt wesnoth-1.16-l wesnoth-1.16-low wesnoth-1.16-nr wesnoth-1.16-sof "
            "wesnoth-1.16-sota wesnoth-1.16-sotbe wesnoth-1.16-thot "
            "wesnoth-1.16-trow wesnoth-1.16-tsg wesnoth-1.16-ttb wesnoth-1.16-utbs".split()
        ),
        r"(^|/)fr/LC_MESSAGES/[^/]*\.mo$", lambda unpacked, _lists: games.extract(unpacked),
        (10000, 32000), (8000, 32000), 0.95, default=False,
    ),
)  # fmt: skip
BY_NAME = {source.name: source for source in SOURCES}
