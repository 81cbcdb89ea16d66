"""A page for each command, from its docstring and signature: a hook of mkdocs."""

from typing import Any

from mkdocs.structure.files import File, Files

from atst.cli import COMMANDS, _app


def on_config(config: Any) -> Any:
    """Name the pages in the navigation."""
    pages = [{f"atst {name}": f"commands/{name}.md"} for name in COMMANDS]
    config.nav = [*config.nav, {"Commands": pages}]
    return config


def on_files(files: Files, config: Any) -> Files:
    """Add the pages."""
    app = _app()
    for name in COMMANDS:
        text = app[name].generate_docs(recursive=False, usage_name=f"atst {name}")
        files.append(File.generated(config, f"commands/{name}.md", content=text))
    return files
