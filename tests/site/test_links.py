"""What is held against a built site."""

from staging.links import broken


def site(folder, **pages):
    for name, text in pages.items():
        (folder / f"{name}.html").write_text(text)
    return list(broken(folder))


def test_good_links(tmp_path):
    assert (
        site(tmp_path, a='<a href="b.html#x">', b='<p id="x"><a href="https://example.org">') == []
    )


def test_a_missing_file(tmp_path):
    assert site(tmp_path, a='<a href="b.html">') == ["a.html: b.html leads to no file"]


def test_a_missing_place(tmp_path):
    assert site(tmp_path, a='<a href="#x">') == ["a.html: #x leads to no place in its file"]


def test_nothing_is_loaded_from_elsewhere(tmp_path):
    script = '<script src="https://example.org/a.js"></script>'
    assert site(tmp_path, a=script) == ["a.html: loads https://example.org/a.js"]
    (tmp_path / "a.html").unlink()
    (tmp_path / "s.css").write_text("a { background: url(https://example.org/b.png) }")
    assert site(tmp_path) == ["s.css: loads something from elsewhere"]
