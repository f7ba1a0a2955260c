"""The table of values in helm/README.md, made of the comments in values.yaml.

`python values_table.py` writes it anew; a test looks whether that was done.
"""

import json
import re

import yaml

from chart import CHART

BEGIN, END = "<!-- values: made by tests/helm/values_table.py -->", "<!-- end of values -->"


def described(text):
    """What each value is for, by its path: the comment `# -- …` above it."""
    path, said, descriptions = [], None, {}
    inside = None
    for line in text.splitlines():
        comment = re.match(r"\s*# -- (.*)", line)
        if comment:
            said = comment[1]
            continue
        key = re.match(r"(\s*)([A-Za-z_]+):(?: |$)", line)
        if not key:
            continue
        depth = len(key[1]) // 2
        if inside is not None and depth > inside:
            continue
        inside = None
        path = [*path[:depth], key[2]]
        if said is not None:
            descriptions[".".join(path)] = said
            said, inside = None, depth
    return descriptions


def value_at(values, path):
    for key in path.split("."):
        values = values[key]
    return values


def table(text):
    values = yaml.safe_load(text)
    rows = ["| value | default | what |", "| --- | --- | --- |"]
    for path, what in described(text).items():
        default = json.dumps(value_at(values, path), ensure_ascii=False)
        if len(default) > 60:
            default = "see values.yaml"
        else:
            default = f"`{default}`"
        rows.append(f"| `{path}` | {default} | {what.replace('|', chr(92) + '|')} |")
    return "\n".join(rows)


def page():
    readme = (CHART / "README.md").read_text()
    before, rest = readme.split(BEGIN)
    after = rest.split(END)[1]
    return f"{before}{BEGIN}\n{table((CHART / 'values.yaml').read_text())}\n{END}{after}"


if __name__ == "__main__":
    (CHART / "README.md").write_text(page())
