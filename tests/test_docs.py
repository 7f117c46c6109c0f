"""The documentation: it builds without warnings, its links and names exist, its plots are real."""

import ast
import dataclasses
import html
import importlib
import importlib.util
import inspect
import json
import math
import os
import re
import subprocess
import sys
import unicodedata
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from fontTools.ttLib import TTFont
from PIL import Image

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = {path.name: path.read_text() for path in [ROOT / "README.md", *DOCS.glob("*.md")]}


# -- what pages lead to ---------------------------------------------------------------------

TO_CODE = re.compile(r"\]\((?:formulas|reference)\.md#(evsim[\w.]*)\)")
LINKED = sorted({name for page in PAGES.values() for name in TO_CODE.findall(page)})


def named(path):
    """The object of a dotted name such as evsim.equations.lif.flow."""
    parts = path.split(".")
    for length in range(len(parts), 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:length]))
        except ModuleNotFoundError:
            continue
        for part in parts[length:]:
            # A module may import a name when it is used; a class's attribute is not to be computed.
            of = getattr if inspect.ismodule(found) else inspect.getattr_static
            found = of(found, part)
        return found
    raise ModuleNotFoundError(path)


@pytest.mark.parametrize("name", LINKED)
def test_a_function_that_a_formula_leads_to_exists(name):
    assert inspect.getdoc(named(name)) or name.rsplit(".", 1)[1].startswith("_")


def test_every_section_of_equations_leads_to_its_functions():
    sections = re.split(r"^## ", PAGES["equations.md"], flags=re.M)[1:]
    assert len(sections) > 8
    for section in sections:
        title = section.splitlines()[0]
        assert title == "On a grid" or "formulas.md#evsim" in section, title


def test_every_closed_form_is_on_the_page_of_equations():
    lif = importlib.import_module("evsim.equations.lif")
    public = {
        f"evsim.equations.lif.{name}"
        for name, value in vars(lif).items()
        if not name.startswith("_") and getattr(value, "__module__", None) == lif.__name__
    }
    assert len(public) > 10
    assert public <= set(LINKED)


# -- names ----------------------------------------------------------------------------------

MODULES = """
    evsim evsim.losses evsim.readouts evsim.engines evsim.augment evsim.study evsim.datasets
    evsim.plotting evsim.storage evsim.schedules evsim.optim evsim.metrics evsim.testing evsim_gpu
    evsim.nir
"""
EXTRAS = {"evsim.jax": "jax", "evsim.torch": "torch"}
"""Modules that need a package which need not be installed."""


def is_importable(name):
    """Whether the packages are installed that a name needs."""
    needed = [package for module, package in EXTRAS.items() if name.startswith(module)]
    return all(importlib.util.find_spec(package) for package in needed)


DESCRIBED = [
    name
    for name in re.findall(r"^::: (evsim[\w.]+)$", PAGES["reference.md"], re.M)
    if is_importable(name)
]


def public_names(module):
    """What a module offers: its ``__all__``, else what it defines."""
    own = [n for n, v in vars(module).items() if getattr(v, "__module__", "") == module.__name__]
    names = getattr(module, "__all__", [name for name in own if not name.startswith("_")])
    return {name: getattr(module, name) for name in names}


@pytest.mark.parametrize("name", [*MODULES.split(), *filter(is_importable, EXTRAS)])
def test_every_public_name_is_described(name):
    described = [named(path) for path in DESCRIBED]
    public = public_names(importlib.import_module(name))
    assert public
    for short, value in public.items():
        assert inspect.ismodule(value) or any(value is other for other in described), short
        assert inspect.ismodule(value) or short.isupper() or inspect.getdoc(value), short


def test_every_task_is_described():
    tasks = importlib.import_module("evsim.tasks")
    assert {f"evsim.tasks.{name}" for name in tasks.__all__} <= set(DESCRIBED)


# -- pictures -------------------------------------------------------------------------------

IMAGES = sorted(path.relative_to(DOCS / "images") for path in DOCS.glob("images/**/*.png"))


@pytest.fixture(scope="module")
def pictures():
    """The module docs/pictures.py."""
    spec = importlib.util.spec_from_file_location("pictures", DOCS / "pictures.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_picture_is_shown_on_a_page_and_made_by_a_script(pictures):
    own = {image.name for image in IMAGES if image.parts[0] != "validation"}
    assert own == set(pictures.PICTURES) | set(pictures.ELSEWHERE)
    for command in pictures.ELSEWHERE.values():
        assert any((ROOT / word).is_file() for word in command.split()), command
    for image in IMAGES:
        assert any(f"images/{image.as_posix()}" in page for page in PAGES.values()), image


def test_the_chart_of_speeds_has_the_stored_numbers_losses_first(pictures):
    with Image.open(DOCS / "images" / "speed.png") as image:
        drawn = json.loads(image.text["Description"])
    assert drawn == [list(row) for row in pictures.compared()]
    ratios = [ratio for _, ratio, _, _ in drawn]
    assert ratios == sorted(ratios, reverse=True)
    assert len(ratios) > 5


@pytest.mark.parametrize("page", ["README.md", "index.md", "quickstart.md"])
def test_the_first_screen_says_what_evsim_is_and_how_it_is_installed(page):
    start = PAGES[page][:800]
    for word in ("EventProp", "exact gradients", "delay", "pip install"):
        assert word in start, word


@pytest.mark.slow
def test_quick_pictures_are_drawn(pictures, tmp_path):
    for name in ("one_neuron.png", "grazing.png", "speed.png"):
        pictures.PICTURES[name](tmp_path)
        assert (tmp_path / name).stat().st_size > 10_000


def test_every_picture_that_is_shown_is_there_and_has_a_text():
    for page, text in PAGES.items():
        for alternative, target in re.findall(r"!\[([^\]]*)\]\(([^)]+)\)", text):
            assert len(alternative) > 10, (page, target)
            assert ((ROOT if page == "README.md" else DOCS) / target).is_file(), (page, target)


# -- notebooks ------------------------------------------------------------------------------

NOTEBOOKS = sorted(DOCS.glob("notebooks/*.ipynb"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_has_no_stored_outputs_and_its_code_is_python(path):
    notebook = json.loads(path.read_text())
    assert notebook["nbformat"] == 4
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert len(code) > 5
    for cell in code:
        assert (cell["outputs"], cell["execution_count"]) == ([], None)
        ast.parse("".join(cell["source"]))
    links = re.findall(r"\]\(([^)#]+)", "".join("".join(c["source"]) for c in notebook["cells"]))
    assert links
    assert all((path.parent / link).is_file() for link in links)


# -- links that mkdocs does not see ------------------------------------------------------------


def test_links_of_the_readme_lead_somewhere():
    links = re.findall(r"(?<!!)\[[^\]]*\]\(([^)]+)\)", PAGES["README.md"])
    assert len(links) > 20
    for link in links:
        path, _, anchor = link.partition("#")
        assert (ROOT / path).exists(), link
        if anchor:
            titles = re.findall(r"^#+ (.*)$", (ROOT / path).read_text(), re.M)
            assert anchor in {re.sub(r"[^\w -]", "", t).lower().replace(" ", "-") for t in titles}


# -- commands -------------------------------------------------------------------------------


def test_scripts_and_claims_that_pages_name_exist():
    claims = "\n".join(path.read_text() for path in ROOT.glob("validation/*.py"))
    named_scripts = set()
    for page, text in PAGES.items():
        for script, rest in re.findall(r"\bpython ((?:\w+/)+\w+\.py)([^\n`]*)", text):
            named_scripts.add(script)
            assert (ROOT / script).is_file(), (page, script)
            for claim in re.findall(r"-k (\w+)", rest if "run.py" in script else ""):
                assert f"class {claim}(" in claims, (page, claim)
    assert "validation/run.py" in named_scripts


# -- the site -------------------------------------------------------------------------------

BUILDERS = ("mkdocs", "material", "mkdocstrings", "latex2mathml")
can_build = all(importlib.util.find_spec(name) for name in BUILDERS)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The built site's folder."""
    if not can_build:
        pytest.skip("the site needs pip install evsim[docs]")
    folder = tmp_path_factory.mktemp("site")
    built = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", folder],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert built.returncode == 0, built.stdout + built.stderr
    return folder


class Loaded(HTMLParser):
    """What a page makes a browser load."""

    def __init__(self):
        super().__init__()
        self.addresses = []

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        if tag in ("script", "img", "iframe"):
            self.addresses.append(attributes.get("src") or "")
        if tag == "link" and attributes.get("rel") != "canonical":
            self.addresses.append(attributes.get("href") or "")


@pytest.mark.slow
def test_the_site_builds_strictly_and_loads_nothing_from_elsewhere(site):
    pages = list(site.glob("**/*.html"))
    assert len(pages) >= len(PAGES)
    for page in pages:
        loaded = Loaded()
        loaded.feed(page.read_text())
        assert not [a for a in loaded.addresses if re.match(r"(https?:)?//", a)], page


@pytest.mark.slow
def test_the_site_shows_the_notebooks_and_offers_their_files(site):
    assert len(NOTEBOOKS) == 3
    for path in NOTEBOOKS:
        page = shown_text((site / "notebooks" / path.stem / "index.html").read_text())
        cells = json.loads(path.read_text())["cells"]
        last = "".join(next(c["source"] for c in cells[::-1] if c["cell_type"] == "code"))
        assert " ".join(last.split()) in page
        assert (site / "notebooks" / path.name).read_bytes() == path.read_bytes()


@pytest.mark.slow
def test_formulas_are_drawn_by_the_browser(site):
    equations = (site / "equations" / "index.html").read_text()
    assert equations.count("<math") > 60
    for page in site.glob("**/*.html"):
        text = page.read_text()
        assert "arithmatex" not in text, page
        assert "merror" not in text, page
    shown = re.sub(r"<[^>]*>", "", re.sub(r'title="[^"]*"', "", equations))
    assert not re.search(r"\\(frac|tau|lambda|mathrm)", shown)


class Formulas(HTMLParser):
    """The signs of a page's formulas, as they are drawn: a single letter is italic."""

    def __init__(self):
        super().__init__()
        self.signs, self._open = set(), []

    def handle_starttag(self, tag, attributes):
        self._open.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        while self._open and self._open.pop()[0] != tag:
            pass

    def handle_data(self, data):
        if not any(tag == "math" for tag, _ in self._open):
            return
        tag, attributes = self._open[-1]
        italic = tag == "mi" and len(data) == 1 and attributes.get("mathvariant") != "normal"
        self.signs.update(italic_of(data) if italic else data)


def italic_of(letter):
    """The mathematical italic of a letter, where there is one."""
    for alphabet in ("SMALL", "CAPITAL"):
        name = unicodedata.name(letter).replace("GREEK ", "").replace("LATIN ", "")
        name = name.replace(f"{alphabet} LETTER", f"MATHEMATICAL ITALIC {alphabet}")
        try:
            return unicodedata.lookup(name)
        except KeyError:
            continue
    return letter


@pytest.mark.slow
def test_the_site_brings_the_font_of_its_formulas(site):
    css = (site / "stylesheets" / "site.css").read_text()
    (address,) = re.findall(r"url\(\"?([^\")]*)\"?\)", css)
    font = (site / "stylesheets" / address).resolve()
    assert font.is_relative_to(site.resolve())
    assert font.stat().st_size < 300_000
    assert "SIL OPEN FONT LICENSE Version 1.1" in (font.parent / "OFL.txt").read_text()
    family = re.search(r"font-family: (\"[^\"]*\");\n  src", css)[1]
    assert re.search(r"math \{\n  font-family: (\"[^\"]*\")", css)[1] == family

    tables = TTFont(font)
    assert tables["MATH"].table.MathConstants.FractionRuleThickness.Value > 0
    has = set(tables.getBestCmap())
    signs = set()
    for page in site.glob("**/*.html"):
        formulas = Formulas()
        formulas.feed(page.read_text())
        signs |= formulas.signs
    assert {"\N{MATHEMATICAL ITALIC SMALL TAU}", "∫", "≥"} <= signs
    assert {sign for sign in signs if ord(sign) not in has and not sign.isspace()} == set()


TASK = "Settings data network loss optimizers train evaluate class_names pictures"


@pytest.mark.slow
def test_every_name_stands_on_the_page_of_names(site):
    names = (site / "reference" / "index.html").read_text()
    tasks = importlib.import_module("evsim.tasks").__all__
    wanted = [
        *DESCRIBED,
        *(f"evsim.tasks.{task}.{name}" for task in tasks for name in TASK.split()),
    ]
    assert [name for name in wanted if f'id="{name}"' not in names] == []


DESCRIPTION = re.compile(
    r'<div class="doc doc-object doc-(?:class|function)">\s*<h\d id="(evsim[\w.]*)"(.*?)'
    r'(?=<div class="doc doc-object|</article>)',
    re.S,
)


def shown_text(page):
    """What a reader sees of a piece of a page."""
    return " ".join(html.unescape(re.sub(r"<[^>]*>", "", page)).split())


def shown_parameters(description):
    """Name and default of each row of a description's table of parameters."""
    table = re.search(r"Parameters:</span></p>(.*?)</table>", description, re.S)
    rows = re.findall(r'<tr class="doc-section-item">(.*?)</tr>', table[1] if table else "", re.S)
    cells = [[shown_text(cell) for cell in re.findall(r"<td>(.*?)</td>", r, re.S)] for r in rows]
    return {name.lstrip("*"): default for name, _, _, default in cells}


def shown_signature(description):
    """Name and default of each parameter of a description's signature; None if it has none."""
    code = re.search(r'<div class="doc-signature.*?<pre>(.*?)</pre>', description, re.S)
    if code is None:
        return None
    (function,) = ast.parse(f"def {shown_text(code[1])}: ...").body
    given = function.args
    positional = [*given.posonlyargs, *given.args]
    required = [None] * (len(positional) - len(given.defaults))
    pairs = [
        *zip(positional, [*required, *given.defaults], strict=True),
        *zip(given.kwonlyargs, given.kw_defaults, strict=True),
        *((own, None) for own in (given.vararg, given.kwarg) if own),
    ]
    return {own.arg: "required" if d is None else ast.unparse(d) for own, d in pairs}


def real_parameters(path):
    """Name and default of each parameter of an object; None where there is no signature."""
    found = named(path)
    function = getattr(found, "__func__", found)
    try:
        signature = inspect.signature(function)
    except ValueError:  # an exception that takes what every exception takes
        return None, {}
    own = list(signature.parameters.values())
    if own and own[0].name in ("self", "cls"):
        del own[0]
    defaults = {p.name: "required" if p.default is p.empty else repr(p.default) for p in own}
    for field in dataclasses.fields(found) if dataclasses.is_dataclass(found) else ():
        if field.default_factory is not dataclasses.MISSING:
            defaults[field.name] = repr(field.default_factory())
    return inspect.getmodule(function), defaults


READOUTS = importlib.import_module("evsim.readouts")
KNOWN_TO_READERS = {
    "np": np,
    "inf": np.inf,
    "math": math,
    "Adjustments": importlib.import_module("evsim.engines.protocol").Adjustments,
    **{name: getattr(READOUTS, name) for name in READOUTS.__all__},
}
"""Names that a default may have; a constant of a module is none of them."""


def worth(default):
    """The value of a default as it is shown, as ``repr`` writes it."""
    if default == "required":
        return default
    return repr(eval(default, KNOWN_TO_READERS))  # noqa: S307 (our own page)


@pytest.mark.slow
def test_signatures_and_tables_of_the_site_are_those_of_the_code(site):
    tables = signatures = 0
    for page in site.glob("**/index.html"):
        for path, description in DESCRIPTION.findall(page.read_text()):
            if not is_importable(path):
                continue
            module, real = real_parameters(path)
            if module is None:
                continue
            for shown in (shown_signature(description), shown_parameters(description) or None):
                if shown is None:
                    continue
                said = {name: worth(default) for name, default in shown.items()}
                assert said == real, path
            tables += bool(shown_parameters(description))
            has_signature = shown_signature(description) is not None
            signatures += has_signature
            found = named(path)
            if hasattr(found, "_fields") or dataclasses.is_dataclass(found):
                assert has_signature, path
    assert tables > 50
    assert signatures > 250


@pytest.mark.slow
def test_the_changelog_of_the_site_is_that_of_the_repository(site):
    changelog = (site / "changelog" / "index.html").read_text()
    versions = re.findall(r"^## \[([\d.]+)\]", (ROOT / "CHANGELOG.md").read_text(), re.M)
    assert versions
    assert all(f">[{version}]" in changelog or version in changelog for version in versions)
