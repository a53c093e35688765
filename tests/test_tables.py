"What the notebooks on tables and lattices cannot show: a fresh process, other resolutions, axes that are too small."
import subprocess,sys

import matplotlib
matplotlib.use('Agg')
import matplotlib.pyplot as plt
import numpy as np, pandas as pd, pytest

import aeclf.contexts, aeclf.lattice, aeclf.rrc, aeclf.tables
from aeclf.contexts import lattices, persistence
from aeclf.lattice import formal_context, plot_lattice
from aeclf.paper import TABLE2
from aeclf.tables import plot_table, read_table, write_table
from conftest import aeclf as command

LIGHT = ['paper', 'tables', 'rrc', 'contexts', 'lattice', 'confidence', 'reading']


def test_tables_are_read_without_torch():
    code = f"import sys, {', '.join(f'aeclf.{m}' for m in LIGHT)}; print([m for m in ('torch', 'fastai', 'matplotlib.pyplot') if m in sys.modules])"
    assert subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True).stdout.strip() == '[]'


@pytest.mark.parametrize('old, new, names', [
    (aeclf.rrc, aeclf.tables, 'read_table write_table'),
    (aeclf.lattice, aeclf.contexts, 'formal_context is_chain persistence lattices lattice_line lattice_text')])
def test_names_stay_where_they_were(old, new, names):
    for name in names.split(): assert getattr(old, name) is getattr(new, name)


def test_round_trip_is_exact(tmp_path):
    values = np.random.default_rng(0).uniform(0, 1, (6, 4)) * 10.0**np.arange(-12, 12, 6)
    table = pd.DataFrame(values, [f'timm/net,{i}' for i in range(6)], [f'a "{j}"' for j in range(4)])
    write_table(table, tmp_path/'t.csv')
    pd.testing.assert_frame_equal(read_table(tmp_path/'t.csv'), table.round(12), check_exact=True)


def clear(ax):
    "No letters of `ax` overlap or leave the figure."
    ax.figure.draw_without_rendering()
    boxes,frame = [o.get_window_extent() for o in ax.texts], ax.figure.bbox
    for k,b in enumerate(boxes):
        assert frame.x0 <= b.x0 and b.x1 <= frame.x1 and frame.y0 <= b.y0 and b.y1 <= frame.y1, f'cut: {ax.texts[k]}'
        assert not any(b.overlaps(o) for o in boxes[:k]), f'overlap: {ax.texts[k]}'


def table(n, name='net'):
    names = [f'{name}{k}' for k in range(n)]
    return pd.DataFrame(np.random.default_rng(n).uniform(0, 1.2, (n, n)), names, names)


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close('all')


@pytest.mark.parametrize('dpi', [50, 100, 233])
def test_labels_at_any_resolution(dpi):
    for t in (0.05, 0.6, 0.8, 1, 2):
        ax = plot_lattice(formal_context(TABLE2, t), title=f'Table 2 at t = {t}')
        ax.figure.set_dpi(dpi)
        clear(ax)


@pytest.mark.parametrize('layout', [None, 'constrained', 'tight'])
def test_labels_in_small_axes(layout):
    for rrc in (TABLE2, table(5, 'timm/resnet18.'), table(8, 'torchvision/long_name_')):
        axs = plt.subplots(2, 3, figsize=(7, 5), layout=layout)[1].flat
        for t,ax in zip((0.1, 0.5, 0.6, 0.8, 0.9, 1.1), axs): plot_lattice(formal_context(rrc, t), ax, f't = {t}')
        for ax in axs: clear(ax)


def test_names_with_signs_of_mathematics():
    odd = table(3).set_axis(['a_$x$', '%', '{b}^\\'], axis=0).set_axis(['a_$x$', '%', '{b}^\\'], axis=1)
    clear(plot_lattice(formal_context(odd, 0.5)))
    plot_table(odd).figure.draw_without_rendering()


@pytest.mark.parametrize('n, name', [(1, 'x'), (2, 'torchvision/inception_v3'), (12, 'n')])
def test_heat_map_is_never_cut(n, name):
    ax = plot_table(table(n, name), t=0.5, title='RRC')
    clear(ax)
    boxes = [o.get_window_extent() for o in [*ax.get_xticklabels(), *ax.get_yticklabels(), ax.title]]
    assert all(ax.figure.bbox.x0 <= b.x0 and b.x1 <= ax.figure.bbox.x1 and b.y1 <= ax.figure.bbox.y1 for b in boxes)


def test_too_many_concepts_to_draw(tmp_path):
    "Thirty classifiers at random: an answer, without a picture; every lattice and every life stop at the cap."
    names = [f'n{k}' for k in range(30)]
    values = np.random.default_rng(1).uniform(0.4, 1.05, (30, 30))
    np.fill_diagonal(values, 1)
    large = pd.DataFrame(values, names, names)
    write_table(large, tmp_path/'large.csv')
    result = command(tmp_path, 'lattice', 'large.csv', '--t', '0.7')
    assert result.returncode == 0 and 'more than 1,000 concepts, not a chain' in result.stdout
    assert [p.name for p in tmp_path.iterdir()] == ['large.csv']
    small = large.iloc[:18, :18]
    found, lives = lattices(small), persistence(small)
    assert found.concepts.max() == 1001 and 'more than 1,000' in found.lattice[found.concepts.idxmax()]
    kept = found[found.concepts <= 1000].iloc[len(found)//4]
    alive = lives[(lives.from_t < kept.to_t) & (kept.to_t <= lives.to_t)]
    assert len(alive) == kept.concepts
    assert plot_lattice(formal_context(large, 0.7)).texts[0].get_text().startswith('more than 1,000')
