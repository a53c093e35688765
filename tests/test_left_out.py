"A classifier at 0 on its own autoencoder has no RRC: the study goes on without it, and says so."
import pandas as pd
import pytest

from conftest import aeclf

NETS = '''import torch
from aeclf.classifiers import small_resnet
def ape(n_classes=None):
    "Says `ape`, whatever it sees, and there are no apes."
    net = small_resnet(3)
    net[-1].bias.data[2] = 99
    net.trained,net.classes = True,['coffee', 'chelsea', 'ape']
    return net
'''


@pytest.fixture
def home(tmp_path):
    (tmp_path/'nets.py').write_text(NETS)
    return tmp_path


def run(home, pictures, names, out='study'):
    return aeclf(home, 'run', '--data', f'folder:{pictures}', '--classifiers', names, '--size', '32', '--epochs', '2,2,2', '--out', out)


def test_the_others_have_their_table(home, pictures):
    result = run(home, pictures, 'R,ape=nets.py:ape,A')
    assert result.returncode == 0, result.stderr
    done = next(line for line in result.stdout.splitlines() if line.startswith('RRC and lattices'))
    assert 'without ape, at 0 on their own autoencoders' in done
    study = home/'study'
    assert list(pd.read_csv(study/'rrc.csv', index_col=0)) == ['R', 'A']
    assert list(pd.read_csv(study/'crosseval'/'accuracy.csv', index_col=0)) == ['R', 'ape', 'A']
    chance = pd.read_csv(study/'evidence'/'chance.csv', index_col=0)
    assert not chance.clear['ape'] and set(chance.index) == {'R', 'ape', 'A'}
    page = (study/'report.html').read_text()
    assert 'Left out of RRC, which would divide by 0: ape reads its own autoencoder at 0.00' in page and 'left out of RRC' in page
    again = run(home, pictures, 'R,ape=nets.py:ape,A')
    assert again.returncode == 0 and 'nothing was trained' in again.stdout


def test_a_single_one_that_is_left(home, pictures):
    result = run(home, pictures, 'R,ape=nets.py:ape')
    assert result.returncode == 0, result.stderr
    assert pd.read_csv(home/'study'/'rrc.csv', index_col=0).shape == (1, 1)


def test_nobody_is_left(home, pictures):
    result = run(home, pictures, 'ape=nets.py:ape')
    assert result.returncode == 2
    line, = result.stderr.splitlines()
    assert 'no classifier recognises anything on its own autoencoder' in line and '--epochs' in line
