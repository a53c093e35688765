"Names are text: of classes and classifiers, in tables, report and figures; and the command does not care whose Matplotlib settings are around."
import html, os, subprocess

import pandas as pd, pytest
from PIL import Image

from aeclf.classifiers import named_classifiers
from aeclf.data import photograph
from aeclf.lattice import persistence, plot_lattices, plot_persistence
from aeclf.study import Study
from conftest import aeclf, command, one_line

CLASSES = ['001', '<i>', '$x$', 'NA', 'None', 'True', '猫', 'قطة']


@pytest.fixture(scope='module')
def study(tmp_path_factory):
    "A quick study of classes with odd names, read by a classifier NA, and what its run said on stderr."
    root = tmp_path_factory.mktemp('names')
    photo = photograph('coffee')
    for c,name in enumerate(CLASSES):
        (root/'data'/name).mkdir(parents=True)
        for k in range(6): Image.fromarray(photo[20*c+5*k:20*c+5*k+60, 60*c:60*c+60]).save(root/'data'/name/f'{k}.png')
    result = aeclf(root, 'run', '--quick', '--data', f'folder:{root/"data"}', '--classifiers', 'NA=small/vgg,R', '--size', '32', '--out', 'study')
    assert result.returncode == 0, result.stderr
    return root/'study', result.stderr


def test_tables_give_names_back_as_they_are(study):
    tables = Study.open(study[0], 'cpu')
    assert set(tables.table('evidence/per_class')['class']) == set(CLASSES)
    assert list(tables.table('crosseval/accuracy').index) == ['original', 'S', 'NA', 'R']
    assert set(tables.table('evidence/agreement')['column']) == {'NA'}
    assert list(tables.table('rrc').columns) == ['NA', 'R'] and tables.table('quality').index[1] == 'NA'


def test_the_report_shows_them(study):
    page = (study[0]/'report.html').read_text(encoding='utf-8')
    table = page[page.index('id="table-per_class"'):]
    table = html.unescape(table[:table.index('</table>')])
    assert all(f'>{name}</td>' in table for name in CLASSES) and 'nan' not in table


def test_letters_that_no_font_has_are_said_in_one_line_at_most(study):
    assert 'Glyph' not in study[1] and study[1].count('fonts') <= 1


@pytest.mark.parametrize('names', [('a$b_{', 'c$d'), ('$', '$x^$'), ('猫$', '\\frac'), ('a%b', '{}')])
@pytest.mark.parametrize('plot', [lambda t: plot_persistence(persistence(t)), lambda t: plot_lattices(t, (0.5, 0.9))], ids=['persistence', 'lattices'])
def test_figures_of_a_table_take_names_as_text(names, plot, tmp_path):
    figure = plot(pd.DataFrame([[1, 0.9], [0.5, 1]], names, names))
    figure.savefig(tmp_path/'figure.png')
    shown = ' '.join(names).replace('$', r'\$')
    assert any(o.get_text().endswith(shown) for o in figure.axes[0].get_yticklabels()) or len(figure.axes) > 1


@pytest.mark.parametrize('setting', ['MPLBACKEND', 'MATPLOTLIBRC'])
def test_settings_of_others_do_not_matter(tmp_path, setting):
    (tmp_path/'t.csv').write_text(',L,$A$\nL,1,0.9\n$A$,.5,1\n')
    (tmp_path/'rc').write_text('text.usetex: True\n')
    odd = dict(MPLBACKEND='module://of.another.environment', MATPLOTLIBRC=str(tmp_path/'rc'))[setting]
    result = subprocess.run([*command, 'lattice', 't.csv'], cwd=tmp_path, env={**os.environ, setting: odd}, capture_output=True, text=True)
    assert result.returncode == 0 and result.stderr == '' and (tmp_path/'t_t0.8.png').exists()
    assert list(pd.read_csv(tmp_path/'t.csv').columns)[2] == '$A$'


def test_a_classifier_may_be_called_like_a_column_of_names(tmp_path, pictures):
    (tmp_path/'classifier.py').write_text('from aeclf.classifiers import small_alexnet as make\n')
    result = aeclf(tmp_path, 'run', '--quick', '--data', f'folder:{pictures}', '--classifiers', 'classifier.py:make,row=small/alexnet', '--size', '32', '--set', 'read_along=true', '--out', 'study')
    assert result.returncode == 0, result.stderr
    study = Study.open(tmp_path/'study', 'cpu')
    for table in (study.table('crosseval/accuracy'), study.rrc(), study.history('A_row')):
        assert {'classifier', 'row'} <= set(table) and {t.kind for t in table.dtypes} <= set('if')


@pytest.mark.parametrize('name', ['accuracy', 'epoch', 'train_loss', 'valid_loss'])
def test_a_column_of_a_history_is_refused_before_anything_is_trained(tmp_path, pictures, name):
    said = ['run', '--quick', '--data', f'folder:{pictures}', '--out', 'study', '--classifiers']
    one_line(aeclf(tmp_path, *said, f'{name}=small/vgg'), f'{name!r} is taken; give another one, such as {name}2=small/vgg')
    assert not (tmp_path/'study').exists()
    assert named_classifiers(f'{name}.py:make') == {'make': f'{name}.py:make'}
