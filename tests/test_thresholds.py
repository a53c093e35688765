"At least t means at least t: tables whose ratios lie exactly at a threshold, everywhere where the question is asked."
from fractions import Fraction
from types import SimpleNamespace

import numpy as np, pandas as pd, pytest

from aeclf.confidence import concept_shares, order_shares
from aeclf.contexts import formal_context, persistence
from aeclf.crosseval import CrossEval
from aeclf.cues import components
from aeclf.rrc import bootstrap, rrc, serves
from aeclf.store import BadInput
from aeclf.tables import read_table, write_table
from conftest import aeclf, one_line

THRESHOLDS = ('0.4', '0.5', '0.6', '0.7', '0.75', '0.8', '0.9', '1')


def drawn(seed, images=60, n=3):
    "Hits of n classifiers on n autoencoders, many of them exactly at a threshold; and the ratios as fractions."
    rng = np.random.default_rng(seed)
    own = rng.choice([20, 30, 40, 50, 60], n)
    hits = np.array([[own[i] if i == j else round(float(rng.choice(THRESHOLDS))*min(own[i], own[j])) for j in range(n)] for i in range(n)])
    exact = [[Fraction(int(hits[i, j]), int(min(own[i], own[j]))) for j in range(n)] for i in range(n)]
    names = list('ABC'[:n])
    return pd.DataFrame(hits/images, names, names), exact, hits


@pytest.mark.parametrize('seed', range(25))
def test_everybody_who_asks_gets_the_answer_of_fractions(seed, tmp_path):
    accuracy, exact, hits = drawn(seed)
    table = rrc(accuracy)
    write_table(table, tmp_path/'rrc.csv')
    read = read_table(tmp_path/'rrc.csv')
    ranks = np.array([[np.arange(60) >= hits[i, j] for j in range(3)] for i in range(3)]).astype(int)
    everything = CrossEval(np.concatenate([ranks[:1], ranks]), np.zeros((4, 3, 60), int), ['original', *'ABC'], list('ABC'), np.zeros(60, int),
                           groups=np.zeros(60, int))   # one group: every resample is the whole
    boot, lives = bootstrap(everything, n=3), persistence(table)
    for t in THRESHOLDS:
        right = [[ratio >= Fraction(t) for ratio in row] for row in exact]
        context = formal_context(table, float(t))
        assert serves(table, float(t)).to_numpy().tolist() == right
        assert [list(o) for o in context.bools] == right == [list(o) for o in formal_context(read, float(t)).bools]
        assert (boot.p_at_least(float(t)).to_numpy() == right).all()
        alive = lives[(lives.from_t < float(t)) & (float(t) <= lives.to_t)]
        assert {(o.extent, o.intent) for o in alive.itertuples()} == {(c.extent, c.intent) for c in context.lattice}
        assert (concept_shares(boot, context, float(t)).share == 1).all()
        kinds = order_shares(boot, [float(t)]).iloc[0]
        nested = all(set(np.flatnonzero(a)) <= set(np.flatnonzero(b)) or set(np.flatnonzero(b)) <= set(np.flatnonzero(a)) for a in right for b in right)
        assert (kinds.partial == 0) == nested == (boot.p_chain(float(t)) == 1)
        bound = {(i, j) for i in range(3) for j in range(3) if right[i][j] and right[j][i]}
        assert any(len(g) > 1 for g in components(table, float(t))) == any(i != j for i, j in bound)


def test_72_of_100_behind_90_of_100(tmp_path):
    (tmp_path/'t.csv').write_text(f',V,A\nV,1,{0.72/0.90!r}\nA,0.5,1\n')
    assert '{A_V}       serve  {V, A}' in aeclf(tmp_path, 'lattice', 't.csv', '--t', '0.8').stdout


@pytest.mark.parametrize('text, t, words', [
    (',L,A\nL,100,90.1\nA,95.3,100\n', '0.8', 'look like percent'),
    (',L,A\nL,1,.901\nA,.953,1\n', '80', 'looks like percent; give 0.8'),
    ('L,A\n1,.901\n.953,1\n', '0.8', 'where the name of an autoencoder should stand')])
def test_units_and_names_that_are_missing_are_asked_about(tmp_path, text, t, words):
    (tmp_path/'t.csv').write_text(text)
    one_line(aeclf(tmp_path, 'lattice', 't.csv', '--t', t), words)
    assert [p.name for p in tmp_path.iterdir()] == ['t.csv']


def test_large_ratios_are_no_percent(tmp_path):
    (tmp_path/'t.csv').write_text(',L,A\nL,1,6.67\nA,4.2,1\n')
    assert aeclf(tmp_path, 'lattice', 't.csv', '--t', '7').returncode == 0
