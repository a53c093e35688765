"The house rules that no single notebook can show."
import ast
from pathlib import Path

import aeclf
import pytest

root = Path(aeclf.__file__).parent
rooms = ['paper', 'store', 'data', 'lenet', 'classifiers', 'segnet', 'composite', 'training', 'crosseval', 'rrc', 'lattice', 'reconstruction',
         'information', 'cues', 'study', 'report', 'cli']
modules = sorted(p.stem for p in root.glob('*.py') if not p.stem.startswith('_'))


def imported(path):
    "Modules of aeclf that the file imports, at the top or inside functions."
    for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
        if isinstance(node, ast.ImportFrom) and (node.level or (node.module or '').startswith('aeclf')): yield (node.module or '').removeprefix('aeclf').strip('.')
        elif isinstance(node, ast.Import): yield from (a.name.removeprefix('aeclf.') for a in node.names if a.name.startswith('aeclf'))


def test_every_module_has_its_room():
    assert len(modules) >= 15 and set(modules) <= set(rooms)


@pytest.mark.parametrize('name', modules)
def test_a_module_imports_only_modules_of_a_lower_number(name):
    assert [o for o in imported(root/f'{name}.py') if o and rooms.index(o) >= rooms.index(name)] == []


@pytest.mark.parametrize('name', modules)
def test_every_public_name_says_what_it_is(name):
    tree = ast.parse((root/f'{name}.py').read_text(encoding='utf-8'))
    public = [n for n in tree.body if isinstance(n, (ast.FunctionDef, ast.ClassDef)) and not n.name.startswith('_') and not any('patch' in ast.unparse(d) for d in n.decorator_list)]
    assert [n.name for n in public if not ast.get_docstring(n)] == []
