"""A hook of mkdocs: formulas become MathML; examples and notebooks become part of the site.

Nothing is loaded from other sites: browsers draw MathML themselves.
"""

from __future__ import annotations

import html
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from latex2mathml.converter import convert
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
CHANGELOG = "changelog.md"

# What pymdownx.arithmatex leaves of $...$ and $$...$$, and of $$...$$ in a line.
FORMULA = re.compile(
    r'<(?P<tag>span|div) class="arithmatex">\\[(\[](?P<latex>.*?)\\[)\]]</(?P=tag)>', re.S
)


# After an equals sign, a comma or a bracket a minus is a sign; latex2mathml has it as a difference.
SIGN = re.compile(
    r"(<mo[^>]*>(?:&#x0003D;|&#x0002C;|&#x00028;|\(|&#x0005B;|\[)</mo>)<mo>&#x02212;</mo>"
)
FRACTION_SIGN = "<mo>&#x0002F;</mo>"


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Take the examples into the site, so that pages can link to them, and show the notebooks."""
    for path in sorted(ROOT.glob("examples/*.py")):
        files.append(File.generated(config, f"examples/{path.name}", abs_src_path=str(path)))
    for path in sorted(ROOT.glob("docs/notebooks/*.ipynb")):
        notebook = json.loads(path.read_text(encoding="utf-8"))
        if os.environ.get(RUN_NOTEBOOKS):
            notebook = executed(path)
        content = page_of_notebook(path.name, notebook)
        files.append(File.generated(config, f"notebooks/{path.stem}.md", content=content))
    return files


RUN_NOTEBOOKS = "RUN_NOTEBOOKS"
"""If this environment variable is set, the site shows the outputs of the notebooks."""


def executed(path: Path) -> Mapping[str, Any]:
    """The notebook after a run, which needs nbclient, ipykernel and what its cells import."""
    import nbclient
    import nbformat

    notebook = nbformat.read(path, as_version=4)
    result: Mapping[str, Any] = nbclient.NotebookClient(notebook, timeout=600).execute()
    return result


def page_of_notebook(name: str, notebook: Mapping[str, Any]) -> str:
    """A notebook as Markdown: its text, its code, and the outputs that it has."""
    parts = []
    for cell in notebook["cells"]:
        source = "".join(cell["source"])
        parts.append(f"```python\n{source}\n```" if cell["cell_type"] == "code" else source)
        parts += [shown_output(output) for output in cell.get("outputs", ())]
    title, *rest = parts
    note = f"This page is the notebook [{name}]({name})."
    if not any(cell.get("outputs") for cell in notebook["cells"]):
        note += " Run it to see its results."
    return "\n\n".join([title, note, *filter(None, rest)]) + "\n"


def shown_output(output: Mapping[str, Any]) -> str:
    """An output of a cell as Markdown; empty for messages on the stream of errors."""
    if output.get("name") == "stderr":
        return ""
    data = output.get("data", {})
    if "image/png" in data:
        code = "".join(data["image/png"].split())
        return f'<img alt="what the cell draws" src="data:image/png;base64,{code}">'
    if "text/html" in data:
        return f'<div class="output">{data["text/html"]}</div>'
    text = output.get("text") or data.get("text/plain", "")
    return f"```text\n{text.rstrip()}\n```"


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Put the changelog into its page, and lead links out of docs/ to where the site has them."""
    if page.file.src_uri == CHANGELOG:
        return (ROOT / "CHANGELOG.md").read_text(encoding="utf-8").replace("](docs/", "](")
    return markdown.replace("](../examples/", "](examples/")


def on_page_content(html: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Replace every formula by its MathML."""
    return FORMULA.sub(mathml, html)


def mathml(found: re.Match[str]) -> str:
    """The MathML of one formula, with its LaTeX for those who copy it."""
    latex = html.unescape(found["latex"]).strip()
    display = "block" if found["tag"] == "div" else "inline"
    formula = SIGN.sub(r'\1<mo form="prefix">&#x02212;</mo>', convert(latex, display=display))
    formula = formula.replace(FRACTION_SIGN, '<mo lspace="0" rspace="0">&#x0002F;</mo>')
    return (
        f'<{found["tag"]} class="formula" title="{html.escape(latex)}">{formula}</{found["tag"]}>'
    )
