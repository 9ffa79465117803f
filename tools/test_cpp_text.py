"""What the checks share."""

import pathlib
import sys

import pytest

import cpp_text


def test_blank_keeps_offsets_and_lines():
    source = 'int a; // co_await "x"\n/* {\n */ char c = \'"\'; auto s = R"(a " ) b)"; int n = 1\'000;\n'

    text = cpp_text.blank(source)

    assert len(text) == len(source) and text.count("\n") == source.count("\n")
    assert text.split() == "int a; char c = ; auto s = ; int n = 1\'000;".split()


def test_closing_matches_nested_brackets():
    assert cpp_text.closing("f(a[1], {2}) x", 1) == 11
    assert cpp_text.closing("f(a", 1) == 3


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """Runs main() on one file with a check that finds every line with `bad`."""

    def check(_path, text):
        for number, line in enumerate(text.splitlines(), start=1):
            if "bad" in line:
                yield number, "bad"

    def run(text):
        path = tmp_path / "a.cc"
        path.write_text(text)
        monkeypatch.setattr(sys, "argv", ["check_x.py"])
        code = cpp_text.main(check, [path])
        return code, capsys.readouterr().out

    return run


def test_finding_fails_and_names_the_line(run):
    code, out = run("good\nbad\n")
    assert code == 1 and "a.cc:2: bad" in out


def test_clean_file_passes(run):
    assert run("good\n")[0] == 0


def test_excuse_needs_the_checks_name_and_a_reason(run):
    assert run("bad // NOLINT(check_x): it is counted here\n")[0] == 0
    assert run("// NOLINT(check_x): it is counted here\nbad\n")[0] == 0
    assert run("bad // NOLINT(check_x)\n")[0] == 1
    assert run("bad // NOLINT(check_y): it is counted here\n")[0] == 1
    assert run("// NOLINT(check_x): too far away\n\nbad\n")[0] == 1


def test_source_files_are_found():
    names = [path.relative_to(cpp_text.ROOT).as_posix() for path in cpp_text.source_files()]
    assert "src/base/result.h" in names and "fuzz/run_corpus.cc" in names
    assert not [name for name in names if name.startswith("build/")]
    assert pathlib.Path(cpp_text.ROOT / "dev").exists()
