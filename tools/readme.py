"""Render README.md from nbs/index.ipynb, or with --check say whether the two are in step."""
import re
import sys
from pathlib import Path

from fastcore.nbio import read_nb

root = Path(__file__).parents[1]


def text(data):
    "The best text of an output: markdown, else plain."
    best = next((data[k] for k in ('text/markdown', 'text/plain') if k in data), '')
    return ''.join(best)


def shown(output):
    "An output as markdown; pictures are left to the notebook."
    if output['output_type'] == 'stream': body = ''.join(output['text'])
    else: body = '' if any(k.startswith('image/') for k in output['data']) else text(output['data'])
    return f'\n```\n{body.rstrip()}\n```\n' if body.strip() else ''


def from_root(source):
    "Links as they read from the root of the project instead of from nbs/."
    return re.sub(r'\]\(([\w/]+\.ipynb)\)', r'](nbs/\1)', source).replace('](../', '](')


def cell_markdown(cell):
    "A cell as markdown: prose as it stands, code fenced, its outputs after it."
    source = ''.join(cell['source']).strip()
    if cell['cell_type'] == 'markdown': return from_root(source)
    lines = source.splitlines()
    flags = {line[2:].strip().split(':')[0] for line in lines if line.startswith('#|')}
    if 'hide' in flags: return ''
    code = '\n'.join(line for line in lines if not line.startswith('#|')).strip()
    return f'```python\n{code}\n```\n' + ''.join(shown(o) for o in cell.get('outputs', [])) if code else ''


def main():
    cells = read_nb(root/'nbs'/'index.ipynb').cells
    rendered = '<!-- Made from nbs/index.ipynb by tools/readme.py; edit the notebook. -->\n\n' + '\n\n'.join(filter(None, map(cell_markdown, cells))).rstrip() + '\n'
    readme = root/'README.md'
    if '--check' not in sys.argv: readme.write_text(rendered, encoding='utf-8')
    elif readme.read_text(encoding='utf-8') != rendered: sys.exit('README.md is not in step with nbs/index.ipynb; run: python tools/readme.py')


main()
