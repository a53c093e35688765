"The house rules that no single notebook can show."
import ast,json,re
from pathlib import Path

import aeclf
import pytest

root = Path(aeclf.__file__).parent
project = Path(__file__).parents[1]
notebooks = sorted(p for p in (project/'nbs').rglob('*.ipynb') if '.ipynb_checkpoints' not in p.parts)
rooms = [p.stem.partition('_')[2] for p in notebooks if re.match(r'\d\d_', p.stem)]   # in the order of their numbers
modules = sorted(p.stem for p in root.glob('*.py') if not p.stem.startswith('_'))


def imported(path):
    "Modules of aeclf that the file imports, at the top or inside functions, and the names that it takes from them."
    for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
        if isinstance(node, ast.ImportFrom) and (node.level or (node.module or '').startswith('aeclf')):
            module = (node.module or '').removeprefix('aeclf').strip('.')
            yield from ((module or a.name, a.name) for a in node.names)
        elif isinstance(node, ast.Import): yield from ((a.name.removeprefix('aeclf.'), '') for a in node.names if a.name.startswith('aeclf.'))


def code_lines(path):
    "Exported lines of a notebook, cell by cell, without imports and directives."
    for cell in json.loads(path.read_text(encoding='utf-8'))['cells']:
        source = ''.join(cell['source'])
        if cell['cell_type'] != 'code' or not re.search(r'^#\|\s*export\b', source, re.M): continue
        lines = [o for o in source.splitlines() if o.strip() and not o.startswith('#|')]
        yield [o for o in lines if not o.startswith(('import ', 'from '))]


def test_every_module_has_its_room():
    assert len(modules) == 31 and set(modules) == set(rooms)


@pytest.mark.parametrize('name', modules)
def test_a_module_imports_only_modules_of_a_lower_number(name):
    assert [o for o,_ in imported(root/f'{name}.py') if rooms.index(o) >= rooms.index(name)] == []


@pytest.mark.parametrize('name', modules)
def test_private_names_stay_in_their_room(name):
    assert [o for o in imported(root/f'{name}.py') if o[1].startswith('_')] == []


@pytest.mark.parametrize('name', modules)
def test_every_public_name_says_what_it_is(name):
    tree = ast.parse((root/f'{name}.py').read_text(encoding='utf-8'))
    registered = ('patch', 'table', 'figure', 'study_stages', 'app.command', 'app.callback')   # they say it where they are registered
    public = [n for n in tree.body if isinstance(n, (ast.FunctionDef, ast.ClassDef)) and not n.name.startswith('_')]
    public = [n for n in public if not any(ast.unparse(d).startswith(registered) for d in n.decorator_list)]
    assert [n.name for n in public if not ast.get_docstring(n)] == []


def test_lines_fit_a_screen():
    "A mirror with some room: one line in ten over 100 characters, one in a hundred over 140, no cell over 40 lines."
    cells = {p.name: list(code_lines(p)) for p in notebooks}
    lines = [line for of in cells.values() for cell in of for line in cell]
    assert sum(len(o) > 100 for o in lines) <= len(lines)/10
    assert sum(len(o) > 140 for o in lines) <= len(lines)/100
    assert [(name, len(cell)) for name,of in cells.items() for cell in of if len(cell) > 40] == []


def test_nobody_but_the_study_knows_cues_by_name():
    outside = [p for p in root.glob('*.py') if p.stem not in ('cues', 'study', 'all') and not p.stem.startswith('_')]
    named = [p.name for p in outside if re.search(r'''['"]cues\b|\.cues\b|\bcues\(''', p.read_text(encoding='utf-8'))]
    assert named == []


def links(path):
    "Relative links of a page, Markdown or the Markdown cells of a notebook."
    text = path.read_text(encoding='utf-8')
    if path.suffix == '.ipynb': text = '\n'.join(''.join(c['source']) for c in json.loads(text)['cells'] if c['cell_type'] == 'markdown')
    found = re.findall(r'!?\[[^\]]*\]\(([^)\s]+)\)|(?:src|href)="([^"]+)"', text)
    return [o for pair in found for o in pair if o and '://' not in o and not o.startswith(('#', 'mailto:', 'data:'))]


pages = [*notebooks, *project.glob('*.md'), *(project/'results').rglob('*.md')]


@pytest.mark.parametrize('page', pages, ids=lambda p: str(p.relative_to(project)))
def test_every_relative_link_leads_somewhere(page):
    assert [o for o in links(page) if not (page.parent/o.partition('#')[0]).exists()] == []


def test_the_sidebar_has_every_page():
    listed = set(re.findall(r'[\w/]+\.ipynb', (project/'_quarto.yml').read_text(encoding='utf-8')))
    assert listed == {str(p.relative_to(project/'nbs')) for p in notebooks}
